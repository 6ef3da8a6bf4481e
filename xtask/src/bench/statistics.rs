//! Medians and percentiles. Ratios are taken within a turn, and the median over the turns; raw samples are merged before
//! percentiles are taken.

/// The value in the middle, or the mean of the two there.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        even if even % 2 == 0 => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
        _ => Some(sorted[middle]),
    }
}

/// The median of the ratios within each turn; turns in which either is missing do not count.
pub(super) fn median_ratio(pairs: &[(Option<f64>, Option<f64>)]) -> Option<f64> {
    let ratio = |(one, other): &(Option<f64>, Option<f64>)| Some((*one)? / (*other).filter(|other| *other > 0.0)?);
    median(&pairs.iter().filter_map(ratio).collect::<Vec<_>>())
}

/// The sample that so many percent are not above (nearest rank).
pub(super) fn percentile(samples: &[u64], percent: usize) -> Option<u64> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// At most so many of the samples, evenly chosen from the sorted ones, so that their percentiles stay.
pub(super) fn thin(samples: &mut Vec<u64>, most: usize) {
    let all = samples.len();
    if all <= most || most == 0 {
        return;
    }
    samples.sort_unstable();
    *samples = (0..most).map(|at| samples[(2 * at + 1) * all / (2 * most)]).collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        for (values, expect) in
            [(&[][..], None), (&[3.0], Some(3.0)), (&[9.0, 1.0, 2.0], Some(2.0)), (&[4.0, 1.0, 2.0, 9.0], Some(3.0))]
        {
            assert_eq!(median(values), expect, "{values:?}");
        }
    }

    #[test]
    fn a_ratio_is_one_within_a_turn() {
        // A machine that gets twice as slow in the second turn changes no ratio.
        let pairs = [(Some(2.0), Some(1.0)), (Some(4.0), Some(2.0)), (Some(90.0), None), (None, Some(1.0))];
        assert_eq!(median_ratio(&pairs), Some(2.0));
        assert_eq!(median_ratio(&[(Some(1.0), Some(0.0))]), None);
    }

    #[test]
    fn percentiles_are_samples() {
        let samples: Vec<u64> = (1..=200).rev().collect();
        assert_eq!((percentile(&samples, 50), percentile(&samples, 99)), (Some(100), Some(198)));
        assert_eq!((percentile(&[7], 99), percentile(&[], 50)), (Some(7), None));
    }

    #[test]
    fn thinning_keeps_the_percentiles() {
        let mut samples: Vec<u64> = (0..10_000).rev().collect();
        thin(&mut samples, 1_000);
        assert_eq!(samples.len(), 1_000);
        assert_eq!((percentile(&samples, 50), percentile(&samples, 99)), (Some(4_995), Some(9_895)));
        thin(&mut samples, 5_000);
        assert_eq!(samples.len(), 1_000);
    }
}
