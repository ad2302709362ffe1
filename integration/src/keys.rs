//! Keys for peers and raw clients that were made once, because making a pair takes a second of processor time.
//!
//! A test takes them in order, so its peers have different keys. When they are used up, new keys are made.

use std::cell::Cell;

/// An identity key and an encryption key of 2048 bits, in PKCS#8 PEM.
#[derive(Debug, Clone, Copy)]
pub struct Pems {
    /// The identity key.
    pub identity: &'static str,
    /// The encryption key.
    pub encryption: &'static str,
}

/// The next keys for the test of this thread; `None` if it has used all.
pub fn next() -> Option<Pems> {
    thread_local!(static USED: Cell<usize> = const { Cell::new(0) });
    // The simulation has the first of them as encryption keys; here every other one is an identity key. With them there are 20
    // pairs, as many as any test needs.
    const PEMS: &str = concat!(
        include_str!("../../examples/simulate/simulation/keys/renewed.pem"),
        include_str!("keys.pem")
    );
    let mut left = PEMS.split_inclusive("-----END PRIVATE KEY-----\n").skip(2 * USED.get());
    let (identity, encryption) = (left.next()?, left.next()?);
    USED.set(USED.get() + 1);
    Some(Pems { identity, encryption })
}
