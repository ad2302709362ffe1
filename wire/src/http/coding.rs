//! Content codings, and content negotiation between them (RFC 9110, sections 8.4.1 and 12.5.3).

use std::cmp::Reverse;

use super::fields::{Fields, Weight, list_items, split_weight};

/// A content coding in which a file can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// `br` (RFC 7932).
    Brotli,
    /// `zstd` (RFC 8878).
    Zstd,
    /// `gzip` (RFC 1952).
    Gzip,
}

impl Coding {
    /// All codings in the order of preference: the one that compresses best first.
    pub const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// The name in `Content-Encoding` and `Accept-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// The extension, with its dot, of a precompressed file beside the original.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
        }
    }

    /// Whether `name` names this coding. `x-gzip` is an old name of gzip (RFC 9110, section 8.4.1.3).
    fn is_called(self, name: &[u8]) -> bool {
        name.eq_ignore_ascii_case(self.name().as_bytes())
            || (self == Self::Gzip && name.eq_ignore_ascii_case(b"x-gzip"))
    }
}

/// The weights that a client gives to each coding in `Accept-Encoding`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AcceptedCodings {
    /// In the order of [`Coding::ALL`]; `None` for codings that are not named.
    weights: [Option<Weight>; Coding::ALL.len()],
    identity: Option<Weight>,
    /// The weight of `*`, which stands for every coding that is not named.
    others: Option<Weight>,
}

impl AcceptedCodings {
    /// Reads all `Accept-Encoding` fields. Without the field only identity is accepted: RFC 9110 would allow any coding,
    /// but clients that do not send the field often cannot decode one. Malformed elements are ignored. If a coding is
    /// named twice, its greater weight counts.
    pub fn parse(fields: Fields<'_>) -> Self {
        let mut accepted = Self::default();
        let members = fields.values("accept-encoding").flat_map(list_items).filter_map(split_weight);
        for (name, weight) in members {
            let slot = if name == b"*" {
                &mut accepted.others
            } else if name.eq_ignore_ascii_case(b"identity") {
                &mut accepted.identity
            } else if let Some(index) = Coding::ALL.iter().position(|coding| coding.is_called(name)) {
                &mut accepted.weights[index]
            } else {
                continue;
            };
            *slot = (*slot).max(Some(weight));
        }
        accepted
    }

    /// Chooses among the codings that are `available`; `None` is identity. The greatest weight decides, then the order of
    /// [`Coding::ALL`]. `available` is called for the best coding first, and no longer once it has returned true.
    ///
    /// Identity is chosen over an acceptable coding only if the client gives it a greater weight, because a coding saves
    /// bytes. It is also chosen if nothing is acceptable, even if the client excludes it: the client may be able to use
    /// that response, but not a 406 (RFC 9110, section 12.1, allows both).
    pub fn choose(self, available: impl Fn(Coding) -> bool) -> Option<Coding> {
        let least = self.identity.unwrap_or(Weight::ZERO).max(Weight::LEAST);
        let weight_of = |index: usize| self.weights[index].or(self.others).unwrap_or(Weight::ZERO);
        let mut ranked = [0, 1, 2].map(|index| (weight_of(index), Coding::ALL[index]));
        // The sort is stable, so equals stay in order.
        ranked.sort_by_key(|&(weight, _)| Reverse(weight));
        let mut wanted = ranked.into_iter().take_while(|&(weight, _)| weight >= least);
        wanted.find(|&(_, coding)| available(coding)).map(|(_, coding)| coding)
    }
}
