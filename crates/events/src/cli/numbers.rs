//! Values of flags that are numbers within limits. Pure.

/// Parses a number of things, from 1 to `most`.
pub(super) fn count(text: &str, most: usize) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("it must be a whole number from 1 to {most}"))
}

/// Parses a rate per second.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    const LIMITS: std::ops::RangeInclusive<f64> = 0.01..=1e6;
    let number = text.parse().ok().filter(|number| LIMITS.contains(number));
    number.ok_or_else(|| "it must be a number from 0.01 to 1000000".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outside_of_their_limits_are_refused() {
        assert_eq!((count("1", 5), count("5", 5), rate("0.5")), (Ok(1), Ok(5), Ok(0.5)));
        for text in ["0", "6", "-1", "x", ""] {
            assert!(count(text, 5).is_err(), "{text}");
        }
        for text in ["0", "-1", "NaN", "inf", "x"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
