//! The operations on the bucket of the cluster, each with a timeout.
//!
//! | key | value |
//! |---|---|
//! | `name.NAME` | the card of the owner |
//! | `here.NAME` | where the peer is connected |
//! | `share.NAME.N` | a part of what the peer shares |
//! | `change.NAME.N` | what has changed in it since, from 0 on |
//! | `members.only` | empty; while it is there, only members may join |
//! | `member.ID` | an entry of the list of members |

use std::time::Duration;

use async_nats::jetstream::kv::{self, CreateErrorKind, Operation, Store};
use async_nats::jetstream::stream::{self, DiscardPolicy};
use async_nats::{Client, jetstream};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::try_join_all;
use tokio::sync::mpsc::Sender;
use tokio::time::{sleep, timeout};
use wire::{PeerName, frame};

use super::interface::{Here, Input, ShareInput};
use super::packet::{name_in, token};
use super::stream::{MailConfig, MailStream, open as open_mail};
use crate::commands::admission::{Edit, ListChange};
use crate::runtime::Reply;

/// How long an operation on the bucket may take.
pub(super) const OPERATION_TIMEOUT: Duration = Duration::from_secs(4);
/// The pause before the bucket is opened again.
const BUCKET_RETRY: Duration = Duration::from_millis(500);

/// What the watch of the bucket sends to the loop.
pub(super) enum Incoming {
    /// It was opened, and all that was in it has been sent. The stream of mail is open too.
    Bucket(Box<(Store, MailStream)>),
    Input(Input),
}

fn key(kind: &str, name: &PeerName) -> String {
    format!("{kind}.{}", token(name))
}

pub(super) async fn claim(
    bucket: Option<Store>,
    name: PeerName,
    card: Bytes,
    revision: Option<u64>,
) -> Input {
    let found = match bucket {
        Some(bucket) => {
            timeout(OPERATION_TIMEOUT, write_card(&bucket, &name, card, revision)).await.ok().flatten()
        }
        None => None,
    };
    Input::Claimed { name, found }
}

/// Writes a card, and returns what the bucket then has.
async fn write_card(
    bucket: &Store,
    name: &PeerName,
    card: Bytes,
    revision: Option<u64>,
) -> Option<(Bytes, u64)> {
    let key = key("name", name);
    let written = match revision {
        Some(revision) => bucket.update(&key, card.clone(), revision).await.ok(),
        None => match bucket.create(&key, card.clone()).await {
            Ok(revision) => Some(revision),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => None,
            Err(error) => {
                tracing::warn!(target: "cluster", %name, %error, "the name cannot be claimed");
                return None;
            }
        },
    };
    match written {
        Some(revision) => Some((card, revision)),
        None => bucket.entry(key).await.ok().flatten().map(|entry| (entry.value, entry.revision)),
    }
}

pub(super) async fn put(bucket: Option<Store>, name: PeerName, here: Here, over: Option<u64>) -> Input {
    let revision = match bucket {
        Some(bucket) => {
            let (key, value) = (key("here", &name), frame::body(&here).into());
            let write = async {
                match over {
                    None => bucket.put(key, value).await.ok(),
                    Some(revision) => bucket.update(key, value, revision).await.ok(),
                }
            };
            timeout(OPERATION_TIMEOUT, write).await.ok().flatten()
        }
        None => None,
    };
    Input::Put { name, here, revision }
}

pub(super) async fn erase(bucket: Option<Store>, name: PeerName, revision: u64) -> Input {
    if let Some(bucket) = bucket {
        // It fails if somebody has joined under the name since then, and that is meant.
        let _ = timeout(OPERATION_TIMEOUT, bucket.delete_expect_revision(key("here", &name), Some(revision)))
            .await;
    }
    Input::Erased(name)
}

/// Removes a card, if it has this revision.
pub(super) async fn free(
    bucket: Option<Store>,
    name: PeerName,
    revision: u64,
    reply: Reply<Option<bool>>,
) -> Input {
    let free = async {
        let deleted = bucket?.delete_expect_revision(key("name", &name), Some(revision)).await;
        deleted
            .inspect_err(
                |error| tracing::warn!(target: "cluster", %name, %error, "the name was not released"),
            )
            .ok()
    };
    let is_done = timeout(OPERATION_TIMEOUT, free).await.is_ok_and(|done| done.is_some());
    Input::Freed { reply, is_done }
}

pub(super) async fn put_share(
    bucket: Option<Store>,
    name: PeerName,
    parts: Vec<(Bytes, u64)>,
    changes: u32,
) -> Input {
    let Some(bucket) = bucket else { return Input::Share(ShareInput::Kept(None)) };
    let (share, change) = (key("share", &name), key("change", &name));
    for number in 0..changes {
        let purged = timeout(OPERATION_TIMEOUT, bucket.purge(format!("{change}.{number}"))).await;
        if !matches!(purged, Ok(Ok(()))) {
            return Input::Share(ShareInput::Kept(None));
        }
    }
    let mut revisions = Vec::with_capacity(parts.len());
    for (number, (part, over)) in parts.into_iter().enumerate() {
        // It fails if another server writes a share of this peer too, so their parts do not mix.
        let put = timeout(OPERATION_TIMEOUT, bucket.update(format!("{share}.{number}"), part, over)).await;
        match put {
            Ok(Ok(revision)) => revisions.push(revision),
            _ => return Input::Share(ShareInput::Kept(None)),
        }
    }
    Input::Share(ShareInput::Kept(Some(revisions)))
}

pub(super) async fn put_change(bucket: Option<Store>, name: PeerName, number: u32, value: Bytes) -> Input {
    let Some(bucket) = bucket else { return Input::Share(ShareInput::Kept(None)) };
    let key = key("change", &name);
    let put = timeout(OPERATION_TIMEOUT, bucket.create(format!("{key}.{number}"), value)).await;
    let revision = put.ok().and_then(Result::ok);
    Input::Share(ShareInput::Kept(revision.map(|revision| vec![revision])))
}

/// Writes the parts of a share unless there is another share of this peer. Returns whether they are there, or none if the bucket could
/// not be asked.
pub(super) async fn import_share(bucket: &Store, name: &PeerName, parts: &[Bytes]) -> Option<bool> {
    let key = key("share", name);
    for (number, part) in parts.iter().enumerate() {
        let key = format!("{key}.{number}");
        match timeout(OPERATION_TIMEOUT, bucket.create(&key, part.clone())).await.ok()? {
            Ok(_) => {}
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {
                let found = timeout(OPERATION_TIMEOUT, bucket.get(key)).await.ok()?.ok()?;
                if found? != *part {
                    return Some(false);
                }
            }
            Err(_) => return None,
        }
    }
    Some(true)
}

/// Opens the bucket, reads all of it, and reports each change. Begins anew when something fails.
///
/// If there is no bucket, or no stream of mail, it is created, with a copy at each of as many nats-servers as `of` says.
pub(super) async fn watch(client: Client, of: MailConfig, inputs: Sender<Incoming>) {
    let context = jetstream::new(client);
    loop {
        if let Err(error) = watch_once(&context, &of, &inputs).await {
            tracing::debug!(target: "cluster", error, "the bucket cannot be watched");
        }
        if inputs.is_closed() {
            return;
        }
        sleep(BUCKET_RETRY).await;
    }
}

const MEMBERS_ONLY: &str = "members.only";

/// Writes entries of the list of members, at the same time, and then that there is a list.
pub(super) async fn edit_members(
    bucket: Option<Store>,
    edits: Vec<Edit>,
    reply: Reply<Option<Vec<u64>>>,
) -> Input {
    let write = async {
        let bucket = bucket?;
        let revisions = try_join_all(edits.iter().map(|edit| edit_member(&bucket, edit))).await.ok()?;
        match timeout(OPERATION_TIMEOUT, bucket.create(MEMBERS_ONLY, Bytes::new())).await.ok()? {
            Err(error) if error.kind() != CreateErrorKind::AlreadyExists => None,
            _ => Some(revisions),
        }
    };
    Input::MembersEdited(reply, write.await)
}

/// Returns the revision of the entry, which has no meaning if it was removed.
async fn edit_member(bucket: &Store, Edit { id, over, entry }: &Edit) -> Result<u64, ()> {
    let key = format!("member.{id:016x}");
    let write = async {
        match (entry.as_ref().map(frame::body), over) {
            (Some(entry), Some(revision)) => {
                bucket.update(&key, entry.into(), *revision).await.map_err(|_| ())
            }
            (Some(entry), None) => match bucket.create(&key, entry.clone().into()).await {
                Ok(revision) => Ok(revision),
                // An earlier attempt has written it. Its answer was lost, or another server begins with the same list.
                Err(_) => {
                    let found = bucket.entry(&key).await.ok().flatten();
                    found.filter(|found| found.value == entry).map(|found| found.revision).ok_or(())
                }
            },
            (None, over) => bucket.delete_expect_revision(&key, *over).await.map(|()| 0).map_err(|_| ()),
        }
    };
    timeout(OPERATION_TIMEOUT, write).await.map_err(|_| ())?
}

/// Opens the bucket, or makes it. It is made as the stream that it is, because the client of NATS looks at the account before it makes a
/// bucket, and cannot read what nats-server 2.9 answers.
pub(super) async fn open(context: &jetstream::Context, of: &MailConfig) -> Result<Store, async_nats::Error> {
    let name = format!("{}_peers", of.cluster);
    if let Ok(bucket) = context.get_key_value(&name).await {
        return Ok(bucket);
    }
    let config = stream::Config {
        name: format!("KV_{name}"),
        subjects: vec![format!("$KV.{name}.>")],
        max_messages_per_subject: 1,
        allow_rollup: true,
        deny_delete: true,
        allow_direct: true,
        discard: DiscardPolicy::New,
        num_replicas: of.replicas,
        ..stream::Config::default()
    };
    context.create_stream(config).await?;
    Ok(context.get_key_value(name).await?)
}

async fn watch_once(
    context: &jetstream::Context,
    of: &MailConfig,
    inputs: &Sender<Incoming>,
) -> Result<(), async_nats::Error> {
    let bucket = open(context, of).await?;
    let mail = open_mail(context, of).await?;
    let mut entries = bucket.watch_with_history(">").await?;
    // The watch says that it has seen all with the last entry that there was, and so never for an empty bucket.
    let mut unseen = Some((bucket.clone(), mail));
    if bucket.stream.get_info().await?.state.messages == 0
        && let Some(opened) = unseen.take()
    {
        inputs.send(Incoming::Bucket(Box::new(opened))).await?;
    }
    while let Some(entry) = entries.next().await {
        let entry = entry?;
        let has_seen_all = entry.seen_current;
        if let Some(input) = input_of(entry) {
            inputs.send(Incoming::Input(input)).await?;
        }
        if has_seen_all && let Some(opened) = unseen.take() {
            inputs.send(Incoming::Bucket(Box::new(opened))).await?;
        }
    }
    Ok(())
}

/// What an entry of the bucket means. None if it is damaged, or of a later version.
fn input_of(entry: kv::Entry) -> Option<Input> {
    let (kind, rest) = entry.key.split_once('.')?;
    let (name, number) = rest.split_once('.').unwrap_or((rest, ""));
    let (value, revision) = (entry.value, entry.revision);
    match (kind, entry.operation) {
        ("members", Operation::Put) => return Some(Input::Members(ListChange::Closed)),
        ("member", operation) => {
            let id = u64::from_str_radix(name, 16).ok()?;
            let entry = (operation == Operation::Put).then(|| frame::decode(&value));
            // One that is damaged must not let anybody in.
            let entry = entry.and_then(Result::ok);
            return Some(Input::Members(ListChange::Entry { id, revision, entry }));
        }
        _ => {}
    }
    let name = name_in(name)?;
    match (kind, entry.operation) {
        ("name", Operation::Put) => Some(Input::Card { name, card: value, revision }),
        ("name", Operation::Delete | Operation::Purge) => Some(Input::NoCard { name, revision }),
        ("here", Operation::Put) => Some(Input::Here { name, here: frame::decode(&value).ok(), revision }),
        ("here", Operation::Delete | Operation::Purge) => Some(Input::Here { name, here: None, revision }),
        ("change", operation) => {
            let value = (operation == Operation::Put).then_some(value);
            Some(Input::Share(ShareInput::Change { name, number: number.parse().ok()?, value }))
        }
        ("share", Operation::Put) => {
            Some(Input::Share(ShareInput::Part { name, number: number.parse().ok()?, value, revision }))
        }
        _ => None,
    }
}
