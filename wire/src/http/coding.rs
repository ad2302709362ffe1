//! Content codings and which of them a client accepts (RFC 9110, sections 8.4.1 and 12.5.3).

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
    /// All of them, the one that compresses most first.
    pub const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// The name in `Content-Encoding` and `Accept-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// The extension of a file in this coding that lies beside the original, with its dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Zstd => ".zst",
            Self::Gzip => ".gz",
        }
    }

    /// Whether this is what a client calls `name`; `x-gzip` is an old word for gzip (RFC 9110, section 8.4.1.3).
    fn is_called(self, name: &[u8]) -> bool {
        name.eq_ignore_ascii_case(self.name().as_bytes())
            || (self == Self::Gzip && name.eq_ignore_ascii_case(b"x-gzip"))
    }
}

/// What an `Accept-Encoding` says of the codings that are known here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AcceptedCodings {
    /// In the order of [`Coding::ALL`]; none for those that are not named.
    weights: [Option<Weight>; Coding::ALL.len()],
    identity: Option<Weight>,
    /// The weight of `*`: of every coding that is not named.
    others: Option<Weight>,
}

impl AcceptedCodings {
    /// Reads all `Accept-Encoding` fields. Without one nothing is accepted but identity: RFC 9110 would allow any
    /// coding then, but who does not ask for one often cannot undo it. What is malformed in a list is skipped, and of what
    /// is there twice the greater weight counts.
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

    /// The coding to send of those that are `available`; none for identity. The client's weights decide, and among equals
    /// the order of [`Coding::ALL`]. `available` is asked about the best first and only until there is one.
    ///
    /// Identity wins only where the client names it and gives it more weight: who accepts a coding at all would
    /// rather have fewer bytes. If nothing is acceptable it is identity, too, although the client may have ruled it
    /// out: something that it can perhaps read is better than a 406 that it surely does not want
    /// (RFC 9110, section 12.1, leaves the choice).
    pub fn choose(self, available: impl Fn(Coding) -> bool) -> Option<Coding> {
        let least = self.identity.unwrap_or(Weight::ZERO).max(Weight::LEAST);
        let weight_of = |index: usize| self.weights[index].or(self.others).unwrap_or(Weight::ZERO);
        let mut ranked = [0, 1, 2].map(|index| (weight_of(index), Coding::ALL[index]));
        // The sort is stable, so equals stay in order.
        ranked.sort_by(|one, other| other.0.cmp(&one.0));
        let mut wanted = ranked.into_iter().take_while(|&(weight, _)| weight >= least);
        wanted.find(|&(_, coding)| available(coding)).map(|(_, coding)| coding)
    }
}
