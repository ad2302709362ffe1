//! The file message, record by record.

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use hkdf::Hkdf;
use sha2::Sha256;
use wire::Digest;
use wire::frame::LENGTH_BYTES;
use wire::transfer::{CHUNK_BYTES, FileHeader, FileOpener, FileSealer, TransferKey, next_chunk};

use crate::conversation::{FILE, FILE_NAME, TRANSFER, TRANSFER_SALT, TRANSFER_SECRET};
use crate::layout::{Layout, values};

/// Makes the records of a file with the bare algorithms.
struct ByHand {
    key: [u8; 32],
}

impl ByHand {
    fn new() -> Self {
        let mut key = [0; 32];
        let salt = [TRANSFER, TRANSFER_SALT].concat();
        Hkdf::<Sha256>::new(Some(&salt), &TRANSFER_SECRET)
            .expand(b"switchboard/1 file", &mut key)
            .expect("32 bytes are few");
        Self { key }
    }

    fn nonce(counter: u64, last: bool) -> Vec<u8> {
        [[0; 3].as_slice(), &counter.to_be_bytes(), &[u8::from(last)]].concat()
    }

    fn record(&self, counter: u64, last: bool, plaintext: &[u8]) -> Layout {
        let nonce = Self::nonce(counter, last);
        let sealed = Aes256Gcm::new_from_slice(&self.key)
            .expect("the key has 32 bytes")
            .encrypt(&Nonce::try_from(nonce.as_slice()).expect("a nonce has 12 bytes"), plaintext)
            .expect("it is short");
        let (ciphertext, tag) = sealed.split_at(sealed.len() - 16);
        Layout::new().fixed(ciphertext, "ciphertext").fixed(tag, "tag").framed()
    }
}

fn transfer_key() -> TransferKey {
    TransferKey { transfer: TRANSFER, secret: TRANSFER_SECRET.into(), salt: TRANSFER_SALT }
}

/// Appends a short file completely, and the differences of a long one.
pub(crate) fn describe(text: &mut String) {
    text.push_str("\n## Files\n");
    let by_hand = ByHand::new();
    values(
        text,
        "The key of the transfer",
        "Derived with HKDF-SHA256: the transfer followed by the holder's salt is the salt, the secret the input key material, and \
         `switchboard/1 file` the info.",
        &[
            ("transfer", &TRANSFER),
            ("salt of the holder", &TRANSFER_SALT),
            ("secret", &TRANSFER_SECRET),
            ("key", &by_hand.key),
        ],
    );
    let header = header(FILE);
    let mut sealer = FileSealer::new(&transfer_key());
    let mut opener = FileOpener::new(&transfer_key());

    let head = sealer.header(&header);
    let plain = Layout::new()
        .text(FILE_NAME, "name")
        .number(FILE.len() as u64, "total_bytes")
        .number(0, "offset")
        .fixed(&Digest::of(FILE).0, "sha256");
    let made = postcard::to_stdvec(&header).expect("a header is plain data");
    plain.show(text, "The plaintext of the header", "", &made);
    by_hand.record(0, false, &made).show(
        text,
        "The record of the header",
        &format!("Nonce `{}`.", hex(&ByHand::nonce(0, false))),
        &head,
    );
    assert_eq!(opener.header(&head[LENGTH_BYTES..]), Ok(header));

    let chunk = sealer.chunk(FILE, true);
    let about = format!(
        "The plaintext is the whole file, `{}`. This is the last record. Nonce `{}`.",
        hex(FILE),
        hex(&ByHand::nonce(1, true))
    );
    by_hand.record(1, true, FILE).show(text, "The record of the only chunk", &about, &chunk);
    assert_eq!(opener.chunk(&chunk[LENGTH_BYTES..], true), Ok(FILE.to_vec()));
    describe_long(&by_hand, text);
}

/// A file of two chunks. Its first record is too long to be shown completely.
fn describe_long(by_hand: &ByHand, text: &mut String) {
    let file: Vec<u8> = (0..=250).cycle().take(CHUNK_BYTES + 5).collect();
    let header = header(&file);
    let mut sealer = FileSealer::new(&transfer_key());
    let mut opener = FileOpener::new(&transfer_key());
    let head = sealer.header(&header);
    opener.header(&head[LENGTH_BYTES..]).expect("the header opens");
    let (bytes, last) = next_chunk(file.len() as u64);
    assert_eq!((bytes, last), (131_072, false));
    let first = sealer.chunk(&file[..bytes], false);
    assert_eq!(first, by_hand.record(1, false, &file[..bytes]).bytes());
    assert_eq!(opener.chunk(&first[LENGTH_BYTES..], false), Ok(file[..bytes].to_vec()));
    let second = sealer.chunk(&file[bytes..], true);
    assert_eq!(second, by_hand.record(2, true, &file[bytes..]).bytes());
    assert_eq!(opener.chunk(&second[LENGTH_BYTES..], true), Ok(file[bytes..].to_vec()));
    values(
        text,
        "A file of two chunks",
        &format!(
            "A file of {} bytes, 0 to 250 repeated, with the same transfer and secret as above. (A real transfer never uses \
             a secret twice.) The first chunk is not the last one and has nonce `{}`. The second is the last one and has \
             nonce `{}`.",
            file.len(),
            hex(&ByHand::nonce(1, false)),
            hex(&ByHand::nonce(2, true))
        ),
        &[
            ("SHA-256 of the file", &Digest::of(&file).0),
            ("SHA-256 of the first chunk's record", &Digest::of(&first).0),
            ("first 32 bytes of that record", &first[..32]),
            ("all of the second chunk's record", &second),
        ],
    );
}

fn header(file: &[u8]) -> FileHeader {
    FileHeader {
        name: FILE_NAME.parse().expect("a good name"),
        total_bytes: file.len() as u64,
        offset: 0,
        sha256: Digest::of(file),
    }
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}
