//! Msgpack values as JSON text and attachments.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::encode::whole;
use super::reader::{Reader, Token};
use crate::json;
use crate::message::Args;
use crate::socketio::Error;

/// Writes values as JSON, their binaries as placeholders.
pub(crate) struct Writer {
    max_attachments: usize,
    text: String,
    attachments: Vec<Bytes>,
}

impl Writer {
    /// For values with at most so many binaries.
    pub(crate) const fn new(max_attachments: usize) -> Self {
        Self { max_attachments, text: String::new(), attachments: Vec::new() }
    }

    /// The arguments: `items` values.
    pub(crate) fn args(mut self, data: &mut Reader<'_>, items: usize) -> Result<Args, Error> {
        self.text.push('[');
        for index in 0..items {
            if index > 0 {
                self.text.push(',');
            }
            let token = data.token()?;
            self.value(data, token, 1)?;
        }
        self.text.push(']');
        // A client may have written objects that look like placeholders of its binaries.
        if !self.attachments.is_empty() {
            json::check(&self.text, self.attachments.len()).map_err(|_| Error::Attachments)?;
        }
        self.text.pop();
        self.text.remove(0);
        Ok(Args::from_validated(self.text, self.attachments))
    }

    /// A credentials object, if there is one.
    pub(super) fn optional(&mut self, data: Option<Reader<'_>>) -> Result<Option<Box<RawValue>>, Error> {
        let Some(mut data) = data else {
            return Ok(None);
        };
        match data.token()? {
            Token::Undefined | Token::Nil => Ok(None),
            token @ Token::Map(_) => self.raw(&mut data, token).map(Some),
            _ => Err(Error::Payload),
        }
    }

    /// A value that may not have binaries in it.
    pub(super) fn raw(&mut self, data: &mut Reader<'_>, token: Token<'_>) -> Result<Box<RawValue>, Error> {
        self.max_attachments = 0;
        self.value(data, token, 0)?;
        RawValue::from_string(std::mem::take(&mut self.text)).map_err(|_| Error::Payload)
    }

    fn value(&mut self, data: &mut Reader<'_>, token: Token<'_>, depth: usize) -> Result<(), Error> {
        if depth == json::MAX_DEPTH && matches!(token, Token::Array(_) | Token::Map(_)) {
            return Err(Error::TooDeep);
        }
        match token {
            Token::Nil | Token::Undefined => self.text.push_str("null"),
            Token::Bool(value) => self.text.push_str(if value { "true" } else { "false" }),
            Token::Unsigned(n) => self.text.push_str(itoa::Buffer::new().format(n)),
            Token::Signed(n) => self.text.push_str(itoa::Buffer::new().format(n)),
            // JavaScript has one type of number. What has no JSON is null, as JSON.stringify has it.
            Token::Float(n) => match whole(n) {
                Some(n) => self.text.push_str(itoa::Buffer::new().format(n)),
                None => self.text.push_str(&serde_json::Value::from(n).to_string()),
            },
            Token::Text(text) => json::push_string(&mut self.text, &String::from_utf8_lossy(text)),
            Token::Date(ms) => match iso_date(ms) {
                Some(date) => self.text.extend(["\"", &date, "\""]),
                None => self.text.push_str("null"),
            },
            Token::Binary(start, end) => self.attach(data.slice(start, end))?,
            Token::Array(items) => {
                self.text.push('[');
                for index in 0..items {
                    if index > 0 {
                        self.text.push(',');
                    }
                    let item = data.token()?;
                    self.value(data, item, depth + 1)?;
                }
                self.text.push(']');
            }
            Token::Map(entries) => self.map(data, entries, depth)?,
        }
        Ok(())
    }

    fn map(&mut self, data: &mut Reader<'_>, entries: usize, depth: usize) -> Result<(), Error> {
        self.text.push('{');
        let mut first = true;
        for _ in 0..entries {
            let key: Cow<'_, str> = match data.token()? {
                Token::Text(key) => String::from_utf8_lossy(key),
                Token::Unsigned(n) => n.to_string().into(),
                Token::Signed(n) => n.to_string().into(),
                _ => return Err(Error::Payload),
            };
            let value = data.token()?;
            if matches!(value, Token::Undefined) {
                continue;
            }
            if !std::mem::take(&mut first) {
                self.text.push(',');
            }
            json::push_string(&mut self.text, &key);
            self.text.push(':');
            self.value(data, value, depth + 1)?;
        }
        self.text.push('}');
        Ok(())
    }

    fn attach(&mut self, bytes: Bytes) -> Result<(), Error> {
        if self.attachments.len() == self.max_attachments {
            return Err(Error::TooManyAttachments);
        }
        let num = itoa::Buffer::new().format(self.attachments.len()).to_owned();
        self.text.extend([r#"{"_placeholder":true,"num":"#, &num, "}"]);
        self.attachments.push(bytes);
        Ok(())
    }
}

/// A date as `Date.prototype.toJSON` writes it; none outside of what a JavaScript date can be.
pub(crate) fn iso_date(ms: i64) -> Option<String> {
    const DAY: i64 = 86_400_000;
    if ms.unsigned_abs() > 8_640_000_000_000_000 {
        return None;
    }
    let (days, time) = (ms.div_euclid(DAY), ms.rem_euclid(DAY));
    // Days to year, month and day by counting from 1 March 0000 (Howard Hinnant, chrono-compatible date algorithms).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let year = match year {
        0..=9999 => format!("{year:04}"),
        _ => format!("{year:+07}"),
    };
    let (hour, minute) = (time / 3_600_000, time / 60_000 % 60);
    let (second, milli) = (time / 1_000 % 60, time % 1_000);
    Some(format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z"))
}
