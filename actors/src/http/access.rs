//! Who may see a site (RFC 7617).

use std::time::Instant;

use wire::http::{RequestHead, Status, basic_credentials};

use super::brief::Brief;
use super::verified::{Verified, VerifiedKey};
use crate::commands::credentials::CredentialsHandle;

/// Whether a request may be answered.
pub(super) enum Access {
    /// By somebody who has proved who they are.
    Granted {
        user: String,
        proof: Proof,
        /// Whether the password was checked just now: that takes long, so others should know.
        is_new: bool,
    },
    Refused(Brief<'static>),
    /// A password has to be checked.
    MustWait,
}

/// What proved who somebody is, so that it need not be checked again soon.
#[derive(Debug, Clone, Copy)]
pub(super) struct Proof {
    /// Of the users that it was compared with.
    generation: u64,
    key: VerifiedKey,
}

impl Proof {
    /// Writes it down.
    pub(super) fn note(self, verified: &mut Verified, user: &str) {
        verified.insert(self.generation, self.key, user, Instant::now());
    }
}

/// Finds out whether a request to a site with `users` may be answered; `verified` is what is known already.
pub(super) fn check(
    users: &CredentialsHandle,
    verified: &mut Verified,
    head: &RequestHead<'_>,
    may_wait: bool,
) -> Access {
    let refused = || Access::Refused(Brief::new(Status::Unauthorized, "a name and a password are needed"));
    let mut values = head.fields.values("authorization");
    let (Some(value), None) = (values.next(), values.next()) else {
        return refused();
    };
    let proof = Proof { generation: users.generation(), key: VerifiedKey::of(value) };
    if let Some(user) = verified.get(proof.generation, proof.key, Instant::now()) {
        return Access::Granted { user: user.to_owned(), proof, is_new: false };
    }
    if !may_wait {
        return Access::MustWait;
    }
    let Some(credentials) = basic_credentials(head.fields) else {
        return refused();
    };
    match users.verify(&credentials.user, credentials.password) {
        Ok(true) => {
            proof.note(verified, &credentials.user);
            Access::Granted { user: credentials.user, proof, is_new: true }
        }
        Ok(false) => refused(),
        Err(_) => Access::Refused(Brief::busy()),
    }
}
