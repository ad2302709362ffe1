//! Who is who: the users that count at the moment.

use std::collections::HashMap;
use std::hint::black_box;
use std::ops::Range;

use super::file::User;
use super::hash::PASSWORD_BYTES_MAX;
use crate::commands::credentials::Verify;
use crate::runtime::{Core, Now};

/// What a wrong name costs while nobody is in the file.
const COST_OF_NOBODY: u32 = 10;

/// The users of a file.
pub(super) struct Users {
    by_name: HashMap<String, User>,
    /// The highest cost among them; every answer takes as much.
    cost: u32,
}

/// What is computed for an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Work<'a> {
    /// The user whose hash decides.
    pub(super) user: Option<&'a User>,
    /// Costs of what is computed for its time alone.
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
        // Bcrypt would take it for another one. This tells nothing about users: it is so for all of them.
        if password.len() > PASSWORD_BYTES_MAX || password.contains('\0') {
            return false;
        }
        let Work { user, feigned } = self.work(name);
        // The hash was read before, so that there is no error left.
        let is_good = user.is_some_and(|user| bcrypt::verify(password, &user.hash).unwrap_or(false));
        for cost in feigned {
            black_box(bcrypt::bcrypt(cost, black_box([0; 16]), b"\0"));
        }
        is_good
    }

    /// A cost of n takes 2^n rounds. For one that is lower than the highest, m, feigning n, n + 1, .. m - 1 adds
    /// 2^m - 2^n rounds, so that how long an answer takes does not tell who is in the file.
    pub(super) fn work(&self, name: &str) -> Work<'_> {
        let user = self.by_name.get(name);
        let feigned = user.map_or(self.cost..self.cost + 1, |user| user.cost..self.cost);
        Work { user, feigned }
    }
}
