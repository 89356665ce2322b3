//! What time is it really, and how do real dice fall? The only place that asks the machine.

use std::time::SystemTime;

use crate::clock::{Clock, Dice, UnixTime};

/// The machine's civil clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealClock;

impl Clock for RealClock {
    #[allow(clippy::disallowed_methods, reason = "the one real clock")]
    fn now(&self) -> UnixTime {
        let millis = |span: std::time::Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => UnixTime(millis(after)),
            Err(before) => UnixTime(-millis(before.duration())),
        }
    }
}

/// Draws from the random generator of the crypto library.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDice;

impl Dice for RealDice {
    fn draw(&self) -> f64 {
        let mut bytes = [0; 8];
        // Without randomness nothing works at all; a draw in the middle is then as good as any.
        if aws_lc_rs::rand::fill(&mut bytes).is_err() {
            return 0.5;
        }
        // 53 bits: as many as a double holds exactly.
        let bits = u64::from_be_bytes(bytes) >> 11;
        #[allow(clippy::cast_precision_loss)]
        let draw = bits as f64 / (1u64 << 53) as f64;
        draw
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_lie_in_the_unit_interval_and_differ() {
        let draws: Vec<f64> = (0..100).map(|_| RealDice.draw()).collect();
        assert!(draws.iter().all(|draw| (0.0..1.0).contains(draw)));
        assert!(draws.windows(2).any(|pair| pair[0] < pair[1]));
    }
}
