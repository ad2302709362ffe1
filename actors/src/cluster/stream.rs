//! The operations on the stream with the copies of mail, each with a timeout.
//!
//! The copies of a store for one recipient have the subject `switchboard.CLUSTER.mail.STORE.NAME`. Mail that was stored in one step
//! is one message, or several if it is large. The header [`PLACE`] says which: the place of the first envelope, the number of
//! envelopes, the number of this message, and that of all, with dots between them.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RawMessageErrorKind, Stream};
use bytes::{Bytes, BytesMut};
use data_encoding::HEXLOWER;
use futures_util::StreamExt as _;
use tokio::time::timeout;
use wire::PeerName;
use wire::protocol::ServerId;

use super::bucket::OPERATION_TIMEOUT;
use super::interface::{Find, MailEffect, MailInput, OldCopy, Parcel, ReadMail, Sequence};
use super::packet::{PART_BYTES_MAX, name_in, token};
use crate::commands::cluster::Incarnation;
use crate::config::PeerLimits;

const PLACE: &str = "Switchboard-Place";
/// A list of copies has to go on at least this often.
const LIST_TIMEOUT: Duration = Duration::from_secs(10);
/// How many messages one search for old copies reads. They can have 256 KiB each.
const OLD_MAX: usize = 100;
/// Copies are kept longer than mail, so that a server drops them, and tells the senders.
const AGE_FACTOR: u32 = 2;
/// An envelope counts at least this much towards the quota of its recipient, so a subject has no more messages than that.
const MESSAGE_BYTES_MIN: u64 = 1 << 10;

/// A copy that is put together from its parts.
struct Whole {
    store: ServerId,
    name: PeerName,
    parcel: Parcel,
    bytes: BytesMut,
}

/// The stream, and who uses it.
#[derive(Clone)]
pub(super) struct MailStream {
    context: Context,
    stream: Stream,
    subjects: String,
    store: ServerId,
    me: Incarnation,
}

/// What a stream of mail is made with.
#[derive(Clone)]
pub(super) struct MailConfig {
    /// The name of the cluster.
    pub(super) cluster: String,
    pub(super) store: ServerId,
    pub(super) me: Incarnation,
    pub(super) replicas: usize,
    pub(super) limits: PeerLimits,
}

/// Opens the stream, or makes it.
pub(super) async fn open(context: &Context, of: &MailConfig) -> Result<MailStream, async_nats::Error> {
    let name = format!("{}_mail", of.cluster);
    let subjects = format!("switchboard.{}.mail", of.cluster);
    let per_recipient = of.limits.mail_bytes_per_recipient / MESSAGE_BYTES_MIN;
    let stream = match context.get_stream(&name).await {
        Ok(stream) => stream,
        Err(_) => {
            let config = Config {
                name,
                subjects: vec![format!("{subjects}.>")],
                num_replicas: of.replicas,
                discard: DiscardPolicy::New,
                discard_new_per_subject: true,
                max_messages_per_subject: i64::try_from(per_recipient.max(1)).unwrap_or(i64::MAX),
                max_age: of.limits.mail_lifetime.saturating_mul(AGE_FACTOR),
                ..Config::default()
            };
            context.create_stream(config).await?
        }
    };
    Ok(MailStream { context: context.clone(), stream, subjects, store: of.store, me: of.me })
}

/// Carries out an effect.
pub(super) async fn operate(stream: Option<MailStream>, effect: MailEffect) -> MailInput {
    match effect {
        MailEffect::Copy { number, name, first, count, frames } => {
            let copy = async { stream?.copy(number, &name, (first, count), &frames).await };
            let sequences = timeout(OPERATION_TIMEOUT, copy).await.ok().flatten();
            MailInput::Copied { number, sequences }
        }
        MailEffect::Drop { name, before } => {
            if let Some(mail) = stream {
                let subject = mail.subject(&mail.store, &name);
                let purge = mail.stream.purge().sequence(before).filter(subject);
                // What it leaves, the next one drops.
                let _ = timeout(OPERATION_TIMEOUT, purge).await;
            }
            MailInput::Dropped(name)
        }
        MailEffect::Purge(name) => {
            if let Some(mail) = stream {
                let purge = mail.stream.purge().filter(format!("{}.*.{}", mail.subjects, token(&name)));
                // Nobody can open what is left: it is sealed for the last owner of the name.
                let _ = timeout(OPERATION_TIMEOUT, purge).await;
            }
            MailInput::Removed
        }
        MailEffect::List { store, of } => {
            let found = match stream {
                Some(stream) => stream.list(&store, of.as_ref().map(|(name, _)| name)).await,
                None => None,
            };
            MailInput::Listed { store, of, found }
        }
        MailEffect::FindOld { before } => {
            let found = async { stream?.old(before).await };
            MailInput::FoundOld(timeout(LIST_TIMEOUT, found).await.ok().flatten())
        }
        MailEffect::Find(find) => {
            let found = async { stream?.find(&find).await };
            MailInput::Found(timeout(LIST_TIMEOUT, found).await.ok().flatten())
        }
        MailEffect::Read { name, session, sequences } => {
            let read = async {
                match stream {
                    Some(stream) => stream.read(&sequences).await,
                    None => ReadMail::Failed,
                }
            };
            let mail = timeout(OPERATION_TIMEOUT, read).await.unwrap_or(ReadMail::Failed);
            MailInput::Read { name, session, mail }
        }
        MailEffect::Remove(sequences) => {
            if let Some(mail) = stream {
                for sequence in sequences {
                    // Who gets what is left after a failure recognises it.
                    let _ = timeout(OPERATION_TIMEOUT, mail.stream.delete_message(sequence)).await;
                }
            }
            MailInput::Removed
        }
    }
}

impl MailStream {
    /// The store whose mail is copied.
    pub(super) fn store(&self) -> ServerId {
        self.store
    }

    fn subject(&self, store: &ServerId, name: &PeerName) -> String {
        format!("{}.{}.{}", self.subjects, HEXLOWER.encode(store), token(name))
    }

    /// The store and the recipient in a subject.
    fn parse(&self, subject: &str) -> Option<(ServerId, PeerName)> {
        let (store, name) = subject.strip_prefix(&self.subjects)?.strip_prefix('.')?.split_once('.')?;
        let store = HEXLOWER.decode(store.as_bytes()).ok()?.try_into().ok()?;
        Some((store, name_in(name)?))
    }

    async fn copy(
        &self,
        number: u64,
        name: &PeerName,
        (first, count): (u64, u64),
        frames: &Bytes,
    ) -> Option<Vec<Sequence>> {
        let subject = self.subject(&self.store, name);
        let parts: Vec<Bytes> = frames.chunks(PART_BYTES_MAX).map(|part| frames.slice_ref(part)).collect();
        let mut acks = Vec::with_capacity(parts.len());
        for (part, payload) in parts.iter().enumerate() {
            let place = format!("{first}.{count}.{part}.{}", parts.len());
            // So that an attempt whose answer was lost is no second copy.
            let id = format!("{:016x}.{number}.{part}", self.me.0);
            let message =
                PublishMessage::build().payload(payload.clone()).message_id(id).header(PLACE, place);
            acks.push(self.context.send_publish(subject.clone(), message).await.ok()?);
        }
        let mut sequences = Vec::with_capacity(acks.len());
        for ack in acks {
            match ack.await {
                Ok(ack) => sequences.push(ack.sequence),
                Err(error) => {
                    tracing::warn!(target: "cluster", to = %name, %error, "mail was not copied");
                    return None;
                }
            }
        }
        Some(sequences)
    }

    /// The copies of a store. Those of which a part is missing were never acknowledged, and are left out.
    async fn list(&self, store: &ServerId, name: Option<&PeerName>) -> Option<Vec<(PeerName, Parcel)>> {
        let filter_subject = match name {
            Some(name) => self.subject(store, name),
            None => format!("{}.{}.*", self.subjects, HEXLOWER.encode(store)),
        };
        let config = OrderedConfig { filter_subject, headers_only: true, ..OrderedConfig::default() };
        let whole = self.gather(config, |_| true).await?;
        Some(whole.into_iter().map(|copy| (copy.name, copy.parcel)).collect())
    }

    /// The oldest copies that were made before a time, at most [`OLD_MAX`] messages.
    async fn old(&self, before: u64) -> Option<Vec<OldCopy>> {
        let is_old = |published: i64| u64::try_from(published).unwrap_or_default() < before;
        let info = timeout(OPERATION_TIMEOUT, self.stream.get_info()).await.ok()?.ok()?;
        if info.state.messages == 0 || !is_old(info.state.first_timestamp.unix_timestamp()) {
            return Some(Vec::new());
        }
        let filter_subject = format!("{}.*.*", self.subjects);
        let config = OrderedConfig { filter_subject, ..OrderedConfig::default() };
        let mut seen = 0;
        let whole = self.gather(config, |published| {
            seen += 1;
            is_old(published) && seen <= OLD_MAX
        });
        let old = |Whole { store, name, parcel, bytes }| OldCopy {
            store,
            name,
            sequences: parcel.sequences,
            frames: bytes.freeze(),
        };
        Some(whole.await?.into_iter().map(old).collect())
    }

    /// Reads copies in the order of the stream, until there are no more or `goes_on` says so of the time of one.
    async fn gather(
        &self,
        config: OrderedConfig,
        mut goes_on: impl FnMut(i64) -> bool,
    ) -> Option<Vec<Whole>> {
        let consumer = timeout(OPERATION_TIMEOUT, self.stream.create_consumer(config)).await.ok()?.ok()?;
        let (mut left, mut found) = (consumer.cached_info().num_pending, Vec::new());
        let mut messages = timeout(OPERATION_TIMEOUT, consumer.messages()).await.ok()?.ok()?;
        let mut parts: Vec<Whole> = Vec::new();
        while left > 0 {
            let message = timeout(LIST_TIMEOUT, messages.next()).await.ok()??.ok()?;
            let info = message.info().ok()?;
            if !goes_on(info.published.unix_timestamp()) {
                break;
            }
            left = info.pending;
            let place = message.headers.as_ref().and_then(|headers| headers.get(PLACE));
            let place = place.and_then(|place| parse_place(place.as_str()));
            let (Some((store, name)), Some((first, count, part, of))) = (self.parse(&message.subject), place)
            else {
                continue;
            };
            // Parts of different mail can take turns, because messages are sent at the same time.
            let is_same =
                |whole: &Whole| (whole.store, &whole.name, whole.parcel.first) == (store, &name, first);
            let at = parts.iter().rposition(is_same).filter(|_| part > 0).unwrap_or_else(|| {
                let parcel = Parcel { first, count, sequences: Vec::new() };
                parts.push(Whole { store, name, parcel, bytes: BytesMut::new() });
                parts.len() - 1
            });
            let whole = &mut parts[at];
            if whole.parcel.sequences.len() as u64 == part {
                whole.parcel.sequences.push(info.stream_sequence);
                whole.bytes.extend_from_slice(&message.payload);
            }
            if whole.parcel.sequences.len() as u64 == of {
                found.push(parts.swap_remove(at));
            }
        }
        Some(found)
    }

    async fn find(&self, find: &Find) -> Option<Vec<(ServerId, PeerName)>> {
        let filter = match find {
            Find::For(name) => format!("{}.*.{}", self.subjects, token(name)),
            Find::Of(store) => format!("{}.{}.*", self.subjects, HEXLOWER.encode(store)),
            Find::All => format!("{}.*.*", self.subjects),
        };
        let mut subjects = self.stream.info_with_subjects(filter).await.ok()?;
        let mut found = Vec::new();
        while let Some(subject) = subjects.next().await {
            found.extend(self.parse(&subject.ok()?.0));
        }
        Some(found)
    }

    async fn read(&self, sequences: &[Sequence]) -> ReadMail {
        let mut bytes = BytesMut::new();
        for sequence in sequences {
            match self.stream.get_raw_message(*sequence).await {
                Ok(message) => bytes.extend_from_slice(&message.payload),
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => return ReadMail::Gone,
                Err(_) => return ReadMail::Failed,
            }
        }
        ReadMail::Found(bytes.freeze())
    }
}

/// The numbers in the header [`PLACE`].
fn parse_place(text: &str) -> Option<(u64, u64, u64, u64)> {
    let mut numbers = text.split('.').map(|number| number.parse::<u64>().ok());
    let mut next = || numbers.next().flatten();
    Some((next()?, next()?, next()?, next()?))
}
