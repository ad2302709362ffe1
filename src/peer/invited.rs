//! An invitation in the form in which a user receives it: the text, or a link that also contains the server's address.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::Path;
use std::str::FromStr;

use wire::invitation::{BadInvitation, Invitation};
use zeroize::Zeroizing;

use super::server_address::ServerAddress;
use crate::terminal;

/// Means standard input.
const STANDARD_INPUT: &str = "-";
const SCHEME: &str = "switchboard://";

/// An invitation, and the server's address if it was a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Invited {
    pub(super) invitation: Invitation,
    pub(super) server: Option<ServerAddress>,
}

impl FromStr for Invited {
    type Err = BadInvitation;

    fn from_str(text: &str) -> Result<Self, BadInvitation> {
        let text = text.trim();
        let Some(rest) = text.strip_prefix(SCHEME) else {
            return Ok(Self { invitation: text.parse()?, server: None });
        };
        let (server, invitation) = rest.split_once('/').ok_or(BadInvitation)?;
        let server = server.parse().map_err(|_| BadInvitation)?;
        Ok(Self { invitation: invitation.parse()?, server: Some(server) })
    }
}

impl Invited {
    /// Reads the first line of a file, or of standard input for `-`. On a terminal, asks for it without echo.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let text =
            text(path).map_err(|e| format!("the invitation cannot be read from {}: {e}", path.display()))?;
        let line = text.lines().next().unwrap_or_default();
        line.parse().map_err(|e| format!("{}: {e}", path.display()))
    }
}

fn text(path: &Path) -> io::Result<Zeroizing<String>> {
    if path != Path::new(STANDARD_INPUT) {
        return std::fs::read_to_string(path).map(Zeroizing::new);
    }
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return terminal::ask_secret("invitation: ");
    }
    let mut line = Zeroizing::new(String::new());
    stdin.lock().read_line(&mut line)?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use wire::Digest;

    use super::*;

    #[test]
    fn a_link_names_the_server() {
        let invitation = Invitation::new([7; 16], &Digest::of(b"key"));
        let bare: Invited = format!(" {invitation}\n").parse().expect("it is an invitation");
        assert_eq!(bare, Invited { invitation: invitation.clone(), server: None });
        let link: Invited = format!("switchboard://[::1]:7000/{invitation}").parse().expect("it is a link");
        assert_eq!(link.server, Some("[::1]:7000".parse().expect("it is an address")));
        assert_eq!(link.invitation, invitation);
        for bad in ["switchboard://", "switchboard://a b/", "switchboard://host", "http://host/abc", ""] {
            assert_eq!(bad.parse::<Invited>(), Err(BadInvitation), "{bad}");
        }
    }
}
