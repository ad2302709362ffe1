//! Who may see a site (RFC 7617).

use std::time::Instant;

use wire::http::{RequestHead, Status, basic_credentials};

use super::brief::Brief;
use super::verified::{Verified, VerifiedKey};
use crate::commands::credentials::CredentialsHandle;

/// Whether a request may be answered.
pub(super) enum Access {
    /// This user may see the answer.
    Granted(String),
    Refused(Brief<'static>),
    /// A password has to be checked first, which takes long.
    Unknown,
}

/// What proved who somebody is, so that it need not be checked again soon.
#[derive(Debug, Clone)]
pub(super) struct Proof {
    user: String,
    /// Of the users that it was compared with.
    generation: u64,
    key: VerifiedKey,
}

impl Proof {
    /// Keeps it.
    pub(super) fn note(self, verified: &mut Verified) {
        verified.insert(self.generation, self.key, &self.user, Instant::now());
    }
}

fn refused() -> Brief<'static> {
    Brief::new(Status::Unauthorized, "a name and a password are needed")
}

/// The only `Authorization` of a request.
fn authorization<'b>(head: &RequestHead<'b>) -> Option<&'b [u8]> {
    let mut values = head.fields.values("authorization");
    values.next().filter(|_| values.next().is_none())
}

/// Finds out from what is known already whether a request to a site with `users` may be answered.
pub(super) fn known(users: &CredentialsHandle, verified: &mut Verified, head: &RequestHead<'_>) -> Access {
    let Some(value) = authorization(head) else { return Access::Refused(refused()) };
    match verified.get(users.generation(), VerifiedKey::of(value), Instant::now()) {
        Some(user) => Access::Granted(user.to_owned()),
        None => Access::Unknown,
    }
}

/// Checks the password of a request, and waits for that.
pub(super) fn check(
    users: &CredentialsHandle,
    head: &RequestHead<'_>,
) -> Result<(String, Proof), Brief<'static>> {
    let value = authorization(head).ok_or_else(refused)?;
    // Before the check: the file may change while it goes on.
    let generation = users.generation();
    let credentials = basic_credentials(head.fields).ok_or_else(refused)?;
    match users.verify(&credentials.user, credentials.password) {
        Ok(true) => {
            let (user, key) = (credentials.user, VerifiedKey::of(value));
            Ok((user.clone(), Proof { user, generation, key }))
        }
        Ok(false) => Err(refused()),
        Err(_) => Err(Brief::busy()),
    }
}
