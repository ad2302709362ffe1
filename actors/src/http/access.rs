//! Access control: HTTP Basic authentication (RFC 7617).

use std::time::Instant;

use wire::http::{RequestHead, Status, basic_credentials};

use super::brief::Brief;
use super::verified::{Proof, Verified, VerifiedKey};
use crate::commands::credentials::CredentialsHandle;

/// Whether a request may be answered.
pub(super) enum Access {
    /// Yes, to this user.
    Granted(Box<str>),
    Refused(Brief<'static>),
    /// The password is not cached and has to be checked, which takes long.
    Unknown,
}

fn refused() -> Brief<'static> {
    Brief::new(Status::Unauthorized, "a user name and a password are required")
}

/// The value of the `Authorization` field, unless there are several.
fn authorization<'b>(head: &RequestHead<'b>) -> Option<&'b [u8]> {
    let mut values = head.fields.values("authorization");
    values.next().filter(|_| values.next().is_none())
}

/// Looks a request to a site with `users` up in the cache.
pub(super) fn cached(users: &CredentialsHandle, verified: &mut Verified, head: &RequestHead<'_>) -> Access {
    let Some(value) = authorization(head) else { return Access::Refused(refused()) };
    match verified.get(users.generation(), VerifiedKey::of(value), Instant::now()) {
        Some(user) => Access::Granted(user.into()),
        None => Access::Unknown,
    }
}

/// Checks the password of a request, and waits for the result.
pub(super) fn check(users: &CredentialsHandle, head: &RequestHead<'_>) -> Result<Proof, Brief<'static>> {
    let value = authorization(head).ok_or_else(refused)?;
    // Read before the check, during which the file may change.
    let generation = users.generation();
    let credentials = basic_credentials(head.fields).ok_or_else(refused)?;
    match users.verify(&credentials.user, credentials.password) {
        Ok(true) => Ok(Proof { key: VerifiedKey::of(value), generation, user: credentials.user.into() }),
        Ok(false) => Err(refused()),
        Err(_) => Err(Brief::busy()),
    }
}
