//! While a request waits in the queue of a holder, others who have the file are asked one after the other whether they can send it now.
//!
//! They are asked without a place in their queues, so the fetch waits in one queue only. Whoever is ready first sends the file, and the
//! other request is taken back. If both are ready at the same time, the second answer belongs to no request any more. Its holder has a slot
//! for it until it reads that the request was taken back.

use std::time::{Duration, Instant};

use wire::PeerName;
use wire::protocol::{Refusal, ToServer, TransferId};
use wire::share::Hit;
use wire::signal::{self, FileAnswer, FileRequest, Reason, Verdict};
use zeroize::Zeroizing;

use super::super::Engine;
use super::super::contact::{Lookup, same_name};
use super::super::interface::TaskId;
use super::super::link::About;
use super::asking::{file_request, wish_of};
use super::{Fetch, Stage};

/// How long the server may take to send the card of a holder, and the holder to answer.
const PROBE_WAIT: Duration = Duration::from_secs(5);
/// When all have been asked, how long to wait before they are asked again.
const AGAIN_WAIT: Duration = Duration::from_secs(10);
/// The maximum number of holders that are asked.
const PROBED_MAX: usize = 8;

/// A holder that is asked, and the request once its card has come.
struct Probe {
    hit: Hit,
    asked: Option<FileRequest>,
    deadline: Instant,
}

#[derive(Default)]
pub(super) struct Probing {
    probe: Option<Probe>,
    /// How many of the others have been asked in this round.
    asked: usize,
    /// When the next round may begin.
    again_at: Option<Instant>,
}

impl Probing {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.probe.as_ref().map(|probe| probe.deadline)
    }

    /// Forgets who is asked. Returns what must be taken back: from whom, and for which transfer.
    pub(super) fn stop(&mut self) -> Option<(PeerName, TransferId)> {
        let Probe { hit, asked, .. } = self.probe.take()?;
        Some((hit.peer.clone(), asked?.transfer))
    }

    fn is_asked(&self, transfer: TransferId) -> bool {
        let asked = self.probe.as_ref().and_then(|probe| probe.asked.as_ref());
        asked.is_some_and(|asked| asked.transfer == transfer)
    }
}

impl Fetch {
    /// Whether it waits for a holder that is busy.
    fn is_waiting(&self) -> bool {
        match &self.stage {
            Stage::Asked(_, asked) | Stage::Queued(_, asked) => asked.wish.may_wait(),
            _ => false,
        }
    }
}

impl Engine {
    /// Asks the next one who has a file that waits, unless all of them were asked lately.
    pub(super) fn probe(&mut self, task: TaskId) {
        let now = self.local.now.instant;
        let Some(fetch) = self.fetches.fetches.get_mut(&task) else { return };
        let waits_for = fetch.stage.hit().map(|hit| hit.peer.clone());
        if !fetch.is_waiting() || fetch.probing.probe.is_some() || self.local.link.is_none() {
            return;
        }
        fetch.others.retain(|other| waits_for.as_ref().is_none_or(|peer| !same_name(peer, &other.peer)));
        fetch.others.truncate(PROBED_MAX);
        let probing = &mut fetch.probing;
        if probing.asked >= fetch.others.len() {
            let again_at = *probing.again_at.get_or_insert(now + AGAIN_WAIT);
            if again_at > now {
                return;
            }
            (probing.asked, probing.again_at) = (0, None);
        }
        let Some(hit) = fetch.others.get(probing.asked).cloned() else { return };
        probing.asked += 1;
        let holder = hit.peer.clone();
        probing.probe = Some(Probe { hit, asked: None, deadline: now + PROBE_WAIT });
        let contact = self.contacts.of(&holder);
        contact.keep();
        contact.lookup = Lookup::Asked;
        self.local.say(&ToServer::Lookup { name: holder });
    }

    /// Requests the file of a holder whose card has come.
    pub(super) fn card_for_probes(&mut self, name: &PeerName) {
        let waits = |probe: &Probe| probe.asked.is_none() && same_name(&probe.hit.peer, name);
        for task in self.fetches.tasks(|fetch| fetch.probing.probe.as_ref().is_some_and(waits)) {
            let Some(fetch) = self.fetches.fetches.get_mut(&task) else { continue };
            let Some(probe) = &mut fetch.probing.probe else { continue };
            let request = file_request(&probe.hit, fetch.offset, wish_of(&probe.hit), &mut self.local.rng);
            let content = Zeroizing::new(signal::encode(&request));
            let (holder, about) = (probe.hit.peer.clone(), About::Transfer(request.transfer));
            probe.asked = Some(request);
            self.signal_holder(&holder, &content, about);
        }
    }

    fn probed(&self, transfer: TransferId) -> Option<TaskId> {
        self.fetches.tasks(|fetch| fetch.probing.is_asked(transfer)).first().copied()
    }

    /// Handles an answer of a holder. Returns whether it was asked like this.
    pub(super) fn answer_for_probe(&mut self, from: &PeerName, answer: &FileAnswer) -> bool {
        let Some(task) = self.probed(answer.transfer) else { return false };
        let Some(fetch) = self.fetches.fetches.get_mut(&task) else { return true };
        if !fetch.probing.probe.as_ref().is_some_and(|probe| same_name(&probe.hit.peer, from)) {
            return true;
        }
        let Some(Probe { hit, asked: Some(asked), .. }) = fetch.probing.probe.take() else { return true };
        match answer.verdict {
            Verdict::Ready { bytes, salt } if bytes == hit.file.bytes => {
                let waiting = std::mem::replace(&mut fetch.stage, Stage::Asked(hit, asked));
                // If this one cannot be dialled, and is busy then.
                fetch.others.extend(waiting.hit().cloned());
                self.stop(&waiting);
                self.receive(task, salt);
            }
            Verdict::Busy => self.probe(task),
            Verdict::Queued { .. } | Verdict::Ready { .. } => {
                // A place was not wanted, and a file of another length is another file.
                self.withdraw(&hit.peer, asked.transfer, Reason::Left);
                self.probe_without(task, &hit.peer);
            }
            Verdict::NotShared | Verdict::Changed => self.probe_without(task, &hit.peer),
        }
        true
    }

    /// Does not ask a holder any more.
    fn probe_without(&mut self, task: TaskId, holder: &PeerName) {
        if let Some(fetch) = self.fetches.fetches.get_mut(&task) {
            let before = fetch.others.len();
            fetch.others.retain(|other| !same_name(&other.peer, holder));
            fetch.probing.asked = fetch.probing.asked.saturating_sub(before - fetch.others.len());
        }
        self.probe(task);
    }

    /// Handles a request that the server has refused. Returns whether it was one of these.
    pub(super) fn probe_refused(&mut self, transfer: TransferId, refusal: Refusal) -> bool {
        let Some(task) = self.probed(transfer) else { return false };
        let Some(fetch) = self.fetches.fetches.get_mut(&task) else { return true };
        let Some((holder, _)) = fetch.probing.stop() else { return true };
        match refusal {
            Refusal::Absent => self.probe_without(task, &holder),
            _ => self.probe(task),
        }
        true
    }

    /// Goes on with the next one when a holder has not answered in time.
    pub(super) fn end_late_probes(&mut self) {
        let now = self.local.now.instant;
        let is_late = |fetch: &Fetch| fetch.probing.deadline().is_some_and(|at| at <= now);
        for task in self.fetches.tasks(is_late) {
            let Some(fetch) = self.fetches.fetches.get_mut(&task) else { continue };
            let Some(holder) = fetch.probing.probe.as_ref().map(|probe| probe.hit.peer.clone()) else {
                continue;
            };
            let probe = fetch.probing.stop();
            self.withdraw_probe(probe);
            self.probe_without(task, &holder);
        }
    }

    /// What was asked over a lost connection has no answer any more. The request that waits is sent again, and its answer begins
    /// another round.
    pub(super) fn probes_lost_connection(&mut self) {
        for fetch in self.fetches.fetches.values_mut() {
            fetch.probing = Probing::default();
        }
    }

    pub(super) fn withdraw_probe(&mut self, probe: Option<(PeerName, TransferId)>) {
        if let Some((holder, transfer)) = probe {
            self.withdraw(&holder, transfer, Reason::Left);
        }
    }
}
