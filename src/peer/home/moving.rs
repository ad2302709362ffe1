//! Export of an identity to one file, and its import on another machine.

use pem_rfc7468::LineEnding;
use rsa::rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use wire::conversation::MessageId;
use wire::{Fingerprint, PeerName};
use zeroize::Zeroize as _;

use super::{BadLocked, Home, HomeError, PRIVATE_FILE_MODE, keys, known_servers, locked, pins, read_private};
use crate::peer::folder::FileError;
use crate::peer::records::ContactRecord;

const PEM_LABEL: &str = "SWITCHBOARD IDENTITY";
const PURPOSE: &[u8] = b"switchboard identity";

/// The part of the store that moves with the identity: contacts with the numbers of messages, and the ids by which
/// repeated messages are recognised (by folded name of the sender, generation and number).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    /// All contacts, and this peer's own card.
    pub contacts: Vec<ContactRecord>,
    /// The ids of the messages that were received.
    pub received: Vec<(PeerName, u64, u64, MessageId)>,
}

/// An exported identity. The private keys in it are not encrypted.
#[derive(Serialize, Deserialize)]
pub struct Exported {
    pub name: PeerName,
    identity: String,
    /// With the times at which they were made.
    encryption: Vec<(u64, String)>,
    known_peers: Vec<u8>,
    known_servers: Vec<u8>,
    /// From the store.
    pub numbers: Numbers,
}

impl Drop for Exported {
    fn drop(&mut self) {
        self.identity.zeroize();
        self.encryption.iter_mut().for_each(|(_, pem)| pem.zeroize());
    }
}

impl Exported {
    /// Encrypts the identity under a passphrase. Returns a PEM text.
    pub fn to_text(&self, passphrase: &str, rng: &mut impl CryptoRng) -> String {
        let mut plain = postcard::to_stdvec(self).expect("it contains nothing that postcard refuses");
        let locked = locked::lock(passphrase, PURPOSE, &plain, rng);
        plain.zeroize();
        pem_rfc7468::encode_string(PEM_LABEL, LineEnding::LF, &locked)
            .expect("the label is valid, and the text shorter than the memory")
    }

    /// Whether a text is an exported identity, and not, for example, a contact card.
    pub fn is_one(text: &str) -> bool {
        text.trim_start().starts_with(&format!("-----BEGIN {PEM_LABEL}-----"))
    }

    /// The inverse of [`Exported::to_text`].
    pub fn from_text(text: &str, passphrase: &str) -> Result<Self, BadLocked> {
        let (_, locked) = pem_rfc7468::decode_vec(text.trim().as_bytes()).map_err(|_| BadLocked::Damaged)?;
        let plain = locked::unlock(passphrase, PURPOSE, &locked)?;
        postcard::from_bytes(&plain).map_err(|_| BadLocked::Damaged)
    }
}

impl Home {
    /// Exports the identity of this directory. Only for the process that holds the [`super::Lock`].
    pub fn export(
        &self,
        name: PeerName,
        passphrase: Option<&str>,
        numbers: Numbers,
    ) -> Result<Exported, HomeError> {
        let (identity, encryption) = keys::export(&self.private, passphrase)?;
        let read = |name: &'static str, bytes_max| {
            let read = read_private(&self.private, name, bytes_max).map(Option::unwrap_or_default);
            read.map_err(FileError::of("read", self.private_path().join(name)))
        };
        let known_peers = read(pins::KNOWN_PEERS, pins::KNOWN_PEERS_BYTES_MAX)?;
        let known_servers = read(known_servers::KNOWN_SERVERS, known_servers::KNOWN_SERVERS_BYTES_MAX)?;
        Ok(Exported { name, identity, encryption, known_peers, known_servers, numbers })
    }

    /// Writes an exported identity into this directory, which must have none. The numbers must be in the store already:
    /// the directory has an identity once this returns, and a crash before must not leave one without the numbers.
    /// Returns the fingerprint of the identity key.
    pub fn import(&self, exported: &Exported, passphrase: Option<&str>) -> Result<Fingerprint, HomeError> {
        let write = |name: &'static str, bytes: &[u8]| {
            let written = self.private.write(name, bytes, PRIVATE_FILE_MODE);
            written.map_err(FileError::of("write", self.private_path().join(name)))
        };
        write(pins::KNOWN_PEERS, &exported.known_peers)?;
        write(known_servers::KNOWN_SERVERS, &exported.known_servers)?;
        keys::import(&self.private, &exported.identity, &exported.encryption, passphrase)
    }
}
