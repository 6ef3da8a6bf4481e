//! Times as text. The clock is the caller's; this only writes.

/// Unix milliseconds as `2026-11-21T02:00:00.000Z`, as JavaScript's `toISOString` writes them.
#[must_use]
pub fn iso_millis(ms: u64) -> String {
    written(ms, "")
}

/// Unix milliseconds as RFC 3339 with nanoseconds, `2026-11-21T02:00:00.000000000Z`, as Go's services expect them.
#[must_use]
pub fn iso_nanos(ms: u64) -> String {
    written(ms, "000000")
}

fn written(ms: u64, finer: &str) -> String {
    let (seconds, millis) = (ms / 1000, ms % 1000);
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let mut out = String::with_capacity(24 + finer.len());
    if year > 9999 {
        out.push_str(&(year / 10_000).to_string());
    }
    // By hand, because every reply may carry a time, and `format!` takes ten times as long.
    let parts = [
        (year, 4, "-"),
        (month, 2, "-"),
        (day, 2, "T"),
        (hour, 2, ":"),
        (minute, 2, ":"),
        (second, 2, "."),
        (millis, 3, ""),
    ];
    for (number, digits, behind) in parts {
        push_digits(&mut out, number, digits);
        out.push_str(behind);
    }
    out.push_str(finer);
    out.push('Z');
    out
}

/// The last `digits` digits of a number, with zeros in front.
fn push_digits(out: &mut String, number: u64, digits: u32) {
    for place in (0..digits).rev() {
        // A digit is less than ten.
        out.push(char::from_digit((number / 10_u64.pow(place) % 10) as u32, 10).unwrap_or('0'));
    }
}

/// Days since 1970-01-01 as year, month, day of the proleptic Gregorian calendar, counted in eras of 400 years that
/// begin on 1 March, so that the leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}
