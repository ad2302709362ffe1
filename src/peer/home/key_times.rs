//! How long encryption keys and cards are used.

use std::time::Duration;

use wire::card::CARD_VALID_SECONDS_MAX;

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// How long encryption keys and cards are used, in whole seconds. [`KeyTimes::new`] checks that the times fit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyTimes {
    renewed_after: u64,
    card_valid: u64,
    kept: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKeyTimes {
    /// A new key would always be due.
    #[error("a key must be used for at least a second (--renew-keys)")]
    NoTime,
    /// The protocol allows less.
    #[error("a card is valid for at most 8 days (--card-valid)")]
    CardTooLong,
    /// Between two renewals there would be no valid card.
    #[error("keys must be renewed before the card expires: --renew-keys must be shorter than --card-valid")]
    CardExpires,
    /// Others would encrypt to a key that has been destroyed.
    #[error(
        "a key must be kept at least until the card with it expires: --keep-keys must not be shorter than --card-valid"
    )]
    KeyDestroyed,
}

impl KeyTimes {
    /// `renewed_after`: the age at which a key is replaced by a new one. `card_valid`: how long others may encrypt to a
    /// key. `kept`: the age at which a key is destroyed; mail that was encrypted to it and arrives later cannot be
    /// decrypted.
    pub fn new(renewed_after: Duration, card_valid: Duration, kept: Duration) -> Result<Self, BadKeyTimes> {
        let [renewed_after, card_valid, kept] = [renewed_after, card_valid, kept].map(|time| time.as_secs());
        if renewed_after == 0 {
            return Err(BadKeyTimes::NoTime);
        }
        if card_valid > CARD_VALID_SECONDS_MAX {
            return Err(BadKeyTimes::CardTooLong);
        }
        if renewed_after >= card_valid {
            return Err(BadKeyTimes::CardExpires);
        }
        if kept < card_valid {
            return Err(BadKeyTimes::KeyDestroyed);
        }
        Ok(Self { renewed_after, card_valid, kept })
    }

    /// The time at which a key that was made at `made_at` is replaced. Both are in seconds since 1970.
    pub fn renewed_at(&self, made_at: u64) -> u64 {
        made_at.saturating_add(self.renewed_after)
    }

    /// The time at which a key that was made at `made_at` is destroyed. Both are in seconds since 1970.
    pub fn destroyed_at(&self, made_at: u64) -> u64 {
        made_at.saturating_add(self.kept)
    }

    pub fn card_valid_seconds(&self) -> u64 {
        self.card_valid
    }

    /// The age at which a key is destroyed, in seconds.
    pub fn kept_seconds(&self) -> u64 {
        self.kept
    }
}

impl Default for KeyTimes {
    /// A day, 8 days and 14 days.
    fn default() -> Self {
        Self { renewed_after: DAY_SECONDS, card_valid: CARD_VALID_SECONDS_MAX, kept: 14 * DAY_SECONDS }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_would_leave_a_peer_without_a_card_or_a_key_are_refused() {
        let times = |renewed, valid, kept| {
            KeyTimes::new(Duration::from_secs(renewed), Duration::from_secs(valid), Duration::from_secs(kept))
        };
        let day = DAY_SECONDS;
        assert_eq!(times(day, 8 * day, 14 * day), Ok(KeyTimes::default()));
        assert_eq!(times(0, day, day), Err(BadKeyTimes::NoTime));
        assert_eq!(times(day, 8 * day + 1, 14 * day), Err(BadKeyTimes::CardTooLong));
        assert_eq!(times(day, day, day), Err(BadKeyTimes::CardExpires));
        assert_eq!(times(1, 8 * day, 8 * day - 1), Err(BadKeyTimes::KeyDestroyed));
        assert!(times(1, 2, 2).is_ok());
    }
}
