//! The request that turns a connection into a WebSocket (RFC 6455, section 4.2).

use wire::http::{BodyLength, Method, RequestHead, Status, Version};

use super::brief::Brief;
use crate::commands::connection::{Door, Visitor};
use crate::websocket::{self, accept_value};

/// The response to such a request: 101 if the connection becomes a WebSocket.
pub(super) fn handshake(head: &RequestHead<'_>, visitor: &Visitor) -> Brief<'static> {
    let is_upgrade = head.method == Method::Get
        && head.version == Version::Http11
        && head.fields.lists("upgrade", "websocket")
        && head.fields.lists("connection", "upgrade");
    if !is_upgrade {
        return refuse(Status::UpgradeRequired, "only WebSockets are served here");
    }
    let mut versions = head.fields.values("sec-websocket-version");
    if versions.next() != Some(websocket::VERSION.as_bytes()) || versions.next().is_some() {
        return refuse(Status::UpgradeRequired, "only version 13 of the WebSocket protocol is supported");
    }
    if !is_of_this_origin(head, visitor.door) {
        return refuse(Status::Forbidden, "only the page of this server may connect");
    }
    if visitor.address.is_none() {
        return refuse(Status::Forbidden, "peers have limits by address, and a Unix socket has no address");
    }
    let mut keys = head.fields.values("sec-websocket-key");
    let accept = keys.next().and_then(accept_value).filter(|_| keys.next().is_none());
    match accept {
        Some(accept) if head.keep_alive && head.body == BodyLength::Exact(0) => Brief {
            fields: format!(
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"
            )
            .into(),
            ..Brief::new(Status::SwitchingProtocols, "")
        },
        _ => refuse(Status::BadRequest, "the request for a WebSocket is malformed"),
    }
}

fn refuse(status: Status, reason: &'static str) -> Brief<'static> {
    let fields = match status {
        Status::UpgradeRequired => format!(
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: {}\r\n",
            websocket::VERSION
        )
        .into(),
        _ => "".into(),
    };
    Brief { fields, ..Brief::new(status, reason) }
}

/// Whether the request comes from a page of this host and port. Browsers let pages of all sites connect, with the user's
/// cookies and passwords for this host, and only say which page it is (RFC 6455, section 10.2).
///
/// Behind a proxy that ends TLS, the page has the scheme `https` although this connection has no TLS.
pub(super) fn is_of_this_origin(head: &RequestHead<'_>, door: Door) -> bool {
    let (mut origins, mut hosts) = (head.fields.values("origin"), head.fields.values("host"));
    let (Some(origin), None, Some(host), None) = (origins.next(), origins.next(), hosts.next(), hosts.next())
    else {
        return false;
    };
    let schemes: &[&[u8]] = match door {
        Door::Tls => &[b"https://"],
        Door::Public | Door::Admin => &[b"http://", b"https://"],
    };
    schemes.iter().any(|scheme| {
        origin.strip_prefix(*scheme).is_some_and(|authority| authority.eq_ignore_ascii_case(host))
    })
}
