//! The connection to NATS of an import.

use std::pin::pin;
use std::time::Duration;

use async_nats::jetstream::{self, kv::Store};
use async_nats::{Client, ConnectOptions};
use bytes::Bytes;
use futures_util::future::try_join_all;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use wire::protocol::ServerId;
use wire::{Digest, PeerName};

use super::bucket::{self, OPERATION_TIMEOUT};
use super::core::ALIVE_EVERY;
use super::import::{self, Copy, Embedded, GaveUp, Imported, Target};
use super::interface::{Input, MailEffect, MailInput, Parcel};
use super::packet::{Body, Packet};
use super::shell::{StartError, Subjects, check, options, replicas};
use super::stream::{self, MailConfig, MailStream};
use crate::commands::cluster::Incarnation;
use crate::config::{ClusterConfig, PeerLimits};

/// How often an operation is repeated, with a pause in between. An election among nats-servers takes 10 s.
const TRIES_MAX: u32 = 60;
const PAUSE: Duration = Duration::from_millis(500);

/// Why nothing was imported, or not everything.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    GaveUp(#[from] GaveUp),
}

/// Moves what a server without a cluster has into a cluster, and returns when all of it is there.
///
/// Meanwhile it says that a server with this store is alive, so that nobody delivers a part of the mail. When it ends, the
/// servers at which the recipients are deliver all of it, as they do for a server that is lost.
///
/// # Errors
/// When NATS cannot be used or the disk cannot be read. What was moved before stays there, and the next import goes on.
pub fn import(
    config: &ClusterConfig,
    limits: &PeerLimits,
    store: ServerId,
    from: &mut impl Embedded,
) -> Result<Imported, ImportError> {
    check(config)?;
    let options = options(config)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::System)?;
    // The same in each attempt, so that the copies of an earlier one have the same message ids.
    let me = Incarnation(Digest::of(&store).number());
    let of = MailConfig {
        cluster: config.name.clone(),
        store,
        me,
        replicas: replicas(config),
        limits: limits.clone(),
    };
    runtime.block_on(async {
        let nats = Nats::open(options, config, &of).await?;
        let subject = Subjects::new(&config.name).all;
        let say = |body| Packet { from: me, body }.encode().into();
        let imported = {
            let mut tick = interval(ALIVE_EVERY);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut importing = pin!(import::import(from, &nats));
            loop {
                tokio::select! {
                    // A packet that is lost is followed by another one in time.
                    _ = tick.tick() => {
                        let _ = nats.client.publish(subject.clone(), say(Body::Alive { store })).await;
                    }
                    imported = &mut importing => break imported?,
                }
            }
        };
        // If they do not hear it, they notice the silence.
        let _ = nats.client.publish(subject, say(Body::Ends)).await;
        let _ = timeout(OPERATION_TIMEOUT, nats.client.flush()).await;
        Ok(imported)
    })
}

struct Nats {
    client: Client,
    bucket: Store,
    mail: MailStream,
}

impl Nats {
    async fn open(
        options: ConnectOptions,
        config: &ClusterConfig,
        of: &MailConfig,
    ) -> Result<Self, ImportError> {
        let connect = async || {
            timeout(OPERATION_TIMEOUT, options.clone().connect(config.servers.clone())).await.ok()?.ok()
        };
        let client = repeat("answer", connect).await?;
        let context = jetstream::new(client.clone());
        let open = async || {
            let bucket = timeout(OPERATION_TIMEOUT, bucket::open(&context, of)).await.ok()?.ok()?;
            Some((bucket, timeout(OPERATION_TIMEOUT, stream::open(&context, of)).await.ok()?.ok()?))
        };
        let (bucket, mail) = repeat("open the bucket and the stream of the cluster", open).await?;
        Ok(Self { client, bucket, mail })
    }
}

/// Tries something until it is done. `what` says what NATS does not do.
async fn repeat<T>(what: &'static str, mut attempt: impl AsyncFnMut() -> Option<T>) -> Result<T, GaveUp> {
    for _ in 0..TRIES_MAX {
        if let Some(done) = attempt().await {
            return Ok(done);
        }
        sleep(PAUSE).await;
    }
    Err(GaveUp::Nats(what))
}

impl Target for Nats {
    async fn claim(&self, cards: Vec<(PeerName, Bytes)>) -> Result<Vec<(PeerName, Bytes)>, GaveUp> {
        let claim = async |(name, card): (PeerName, Bytes)| {
            let attempt = async || {
                let claimed = bucket::claim(Some(self.bucket.clone()), name.clone(), card.clone(), None);
                let Input::Claimed { found: Some((card, _)), .. } = claimed.await else { return None };
                Some((name.clone(), card))
            };
            repeat("keep names", attempt).await
        };
        try_join_all(cards.into_iter().map(claim)).await
    }

    async fn copies(&self) -> Result<Vec<(PeerName, Parcel)>, GaveUp> {
        let store = self.mail.store();
        let attempt = async || {
            let list = MailEffect::List { store, of: None };
            let MailInput::Listed { found, .. } = stream::operate(Some(self.mail.clone()), list).await else {
                return None;
            };
            found
        };
        repeat("list the copies of mail", attempt).await
    }

    async fn copy(&self, mail: Vec<Copy>) -> Result<(), GaveUp> {
        let copy = async |Copy { name, first, frames }: Copy| {
            let number = Digest::of_parts(&[name.as_str().as_bytes(), &first.to_le_bytes()]).number();
            let attempt = async || {
                let (name, count, frames) = (name.clone(), frames.count(), frames.bytes.clone());
                let copy = MailEffect::Copy { number, name, first, count, frames };
                let copied = stream::operate(Some(self.mail.clone()), copy).await;
                matches!(copied, MailInput::Copied { sequences: Some(_), .. }).then_some(())
            };
            repeat("keep copies of mail", attempt).await
        };
        try_join_all(mail.into_iter().map(copy)).await.map(|_| ())
    }

    async fn share(&self, name: &PeerName, parts: Vec<Bytes>) -> Result<bool, GaveUp> {
        repeat("keep lists of files", async || bucket::import_share(&self.bucket, name, &parts).await).await
    }
}
