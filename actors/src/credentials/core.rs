//! The current users, and the check of a password.

use std::collections::HashMap;
use std::hint::black_box;
use std::ops::Range;

use super::file::User;
use super::hash::PASSWORD_BYTES_MAX;
use crate::commands::credentials::Verify;
use crate::runtime::{Core, Now};

/// The cost of a check while there are no users.
const COST_OF_NOBODY: u32 = 10;

pub(super) struct Users {
    by_name: HashMap<String, User>,
    /// The highest cost among them, which decides how long every check takes.
    cost: u32,
}

/// The hashes to compute for one check.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Work<'a> {
    /// The user whose hash decides.
    pub(super) user: Option<&'a User>,
    /// The costs of further hashes, which are computed only so that all checks take the same time.
    pub(super) feigned: Range<u32>,
}

impl Core for Users {
    type Command = Verify;
    type Out = ();

    fn handle(&mut self, now: Now, Verify { user, password, reply }: Verify, (): &mut ()) {
        if !reply.has_expired(now.instant) {
            reply.answer(self.verify(&user, &password));
        }
    }
}

impl Users {
    pub(super) fn new(users: Vec<User>) -> Self {
        let cost = users.iter().map(|user| user.cost).max().unwrap_or(COST_OF_NOBODY);
        Self { by_name: users.into_iter().map(|user| (user.name.clone(), user)).collect(), cost }
    }

    pub(super) fn verify(&self, name: &str, password: &str) -> bool {
        // bcrypt would truncate it and accept another password. This is the same for all users, so it reveals nothing
        // about them.
        if password.len() > PASSWORD_BYTES_MAX || password.contains('\0') {
            return false;
        }
        let Work { user, feigned } = self.work(name);
        // The hash was parsed before, so there is no error.
        let is_good = user.is_some_and(|user| bcrypt::verify(password, &user.hash).unwrap_or(false));
        for cost in feigned {
            black_box(bcrypt::bcrypt(cost, black_box([0; 16]), b"\0"));
        }
        is_good
    }

    /// All checks take the same time, so that it does not reveal which users exist. A cost of n takes 2^n rounds. For a
    /// user with a cost n below the highest cost m, computing n, n + 1, .. m - 1 in addition makes 2^m rounds in all.
    pub(super) fn work(&self, name: &str) -> Work<'_> {
        let user = self.by_name.get(name);
        let feigned = user.map_or(self.cost..self.cost + 1, |user| user.cost..self.cost);
        Work { user, feigned }
    }
}
