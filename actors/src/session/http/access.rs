//! Who may see a site (RFC 7617).

use std::time::Instant;

use wire::http::{RequestHead, Status, basic_credentials};

use super::brief::Brief;
use crate::credentials::{CredentialsHandle, Verified, VerifiedKey};

/// Whether a request may be answered.
pub(super) enum Access {
    /// By whom it was made, if that has to be proved.
    Granted(Option<String>),
    /// Somebody has just proved who they are. Checking takes long, so others should know.
    Proved(String, Proof),
    Refused(Brief<'static>),
    /// A password has to be checked.
    MustWait,
}

/// What proved who somebody is, so that it need not be checked again soon.
#[derive(Debug)]
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
    let generation = users.generation();
    if let Some(user) = verified.get(generation, value, Instant::now()) {
        return Access::Granted(Some(user.to_owned()));
    }
    if !may_wait {
        return Access::MustWait;
    }
    let Some(credentials) = basic_credentials(head.fields) else {
        return refused();
    };
    match users.verify(&credentials.user, credentials.password) {
        Ok(true) => Access::Proved(credentials.user, Proof { generation, key: VerifiedKey::of(value) }),
        Ok(false) => refused(),
        Err(_) => Access::Refused(Brief::busy()),
    }
}
