//! Medians, ratios and percentiles.

use serde::{Deserialize, Serialize};

/// The lowest and the highest ratio.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub lowest: f64,
    pub highest: f64,
}

impl Spread {
    /// The spread of `values`; `None` if there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let lowest = values.iter().copied().reduce(f64::min)?;
        let highest = values.iter().copied().reduce(f64::max)?;
        Some(Self { lowest, highest })
    }
}

/// The median of `values`; the mean of the two middle ones if their number is even. `None` if there are none.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some((sorted[middle - 1] + upper) / 2.0)
}

/// The percentile of `sorted` by nearest rank; `None` if there are no values.
pub fn percentile<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// `ours / theirs` for each turn without errors on either side.
pub(crate) fn paired(ours: &[Option<f64>], theirs: &[Option<f64>]) -> Vec<f64> {
    let both = ours.iter().zip(theirs);
    both.filter_map(|(&ours, &theirs)| Some(ours? / theirs.filter(|&theirs| theirs > 0.0)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_odd_and_an_even_number_of_values() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[9.0, 1.0, 5.0, 7.0]), Some(6.0));
    }

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let sorted: Vec<u32> = (1..=200).collect();
        assert_eq!(percentile(&sorted, 50), Some(100));
        assert_eq!(percentile(&sorted, 99), Some(198));
        assert_eq!(percentile(&sorted, 100), Some(200));
        assert_eq!(percentile(&[7], 1), Some(7));
        assert_eq!(percentile::<u32>(&[], 50), None);
    }

    #[test]
    fn a_failed_turn_takes_its_partner_with_it() {
        let ours = [Some(3.0), None, Some(4.0), Some(1.0)];
        let theirs = [Some(2.0), Some(1.0), None, Some(0.0)];
        assert_eq!(paired(&ours, &theirs), [1.5]);
    }

    #[test]
    fn the_spread_is_the_lowest_and_the_highest() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[1.5, 1.1, 1.9]), Some(Spread { lowest: 1.1, highest: 1.9 }));
    }
}
