//! The first message of a connection: a peer joins, or names a transfer.

use wire::card::Card;
use wire::invitation::InvitationClaim;
use wire::keys::Purpose;
use wire::protocol::{ErrorCode, ToPeer, ToServer, join_proof_text};

use super::{Session, State};
use crate::commands::admission::Claim;
use crate::commands::network::Network;
use crate::commands::router::{JoinRefused, Member, PeerKey, SpliceEnd};
use crate::runtime::Now;
use crate::session::ended::{Ended, explain_bad_proof, explain_refusal};
use crate::session::interface::Effect;
use crate::session::transmissions::Transmissions;

impl Session {
    pub(super) fn first_message(
        &mut self,
        now: Now,
        message: &ToServer<'_>,
        out: &mut Vec<Effect>,
    ) -> Result<(), Ended> {
        match message {
            ToServer::Join { card, proof, invitation } => {
                self.first_join(now, card, proof, invitation.map(|claim| (claim, false)), out)?;
            }
            ToServer::JoinInvited { card, proof, invitation } => {
                self.first_join(now, card, proof, Some((*invitation, true)), out)?;
            }
            ToServer::Splice { transfer, side, member, token } => {
                self.state = State::Ended;
                out.push(Effect::Splice(Box::new(SpliceEnd {
                    session: self.id,
                    network: Network::of(self.seen_at),
                    transfer: *transfer,
                    side: *side,
                    member: member.clone(),
                    token: *token,
                    guest: None,
                })));
            }
            _ => return Err((ErrorCode::OutOfPlace, "join first".into())),
        }
        Ok(())
    }

    /// `invitation` says too whether it names another server.
    fn first_join(
        &mut self,
        now: Now,
        card: &[u8],
        proof: &[u8],
        invitation: Option<(InvitationClaim, bool)>,
        out: &mut Vec<Effect>,
    ) -> Result<(), Ended> {
        let card_read = Card::from_bytes(card).map_err(|e| (ErrorCode::BadCard, e.to_string()))?;
        // Other peers would ignore an expired card, so its owner must learn about it here.
        card_read.term.check(now.unix()).map_err(|e| (ErrorCode::BadCard, e.to_string()))?;
        let proof_text = join_proof_text(&self.greeting, card, self.binding.as_ref());
        card_read
            .identity
            .verify(Purpose::Join, &proof_text, proof)
            .map_err(|_| explain_bad_proof(self.binding.is_some()))?;
        self.state = State::Joining(Box::new(card_read.clone()), proof.to_vec());
        let claim =
            invitation.map(|(invitation, is_elsewhere)| Claim { invitation, proof_text, is_elsewhere });
        out.push(Effect::Join(Box::new(card_read), claim.map(Box::new)));
        Ok(())
    }

    pub(super) fn joined(&mut self, answer: Option<Result<PeerKey, JoinRefused>>) -> Result<(), Ended> {
        let State::Joining(card, proof) = std::mem::replace(&mut self.state, State::Ended) else {
            return Ok(());
        };
        match answer {
            Some(Ok(peer)) => {
                tracing::info!(target: "session", name = %card.name, key = %card.fingerprint(), "joined");
                self.member = Some(Member { peer, session: self.id });
                self.transmissions = Transmissions::new(card.name.clone(), self.feed.clone());
                self.name = Some(card.name);
                self.state = State::Writing(proof);
                Ok(())
            }
            Some(Err(refused)) => Err(explain_refusal(&refused, &card.name)),
            None => Err(explain_refusal(&JoinRefused::Busy, &card.name)),
        }
    }

    pub(super) fn welcome(&mut self, now: Now, out: &mut Vec<Effect>) -> Result<(), Ended> {
        if let (Some(name), State::Writing(proof)) =
            (&self.name, std::mem::replace(&mut self.state, State::Joined))
        {
            // Not before, because a refused join must not cost a signature.
            let proof = self.key.welcome(&proof);
            self.outgoing.push_message(&ToPeer::Welcome { name: name.clone(), proof });
        }
        // The same read may have contained frames after the join.
        self.take_frames(now, out)
    }
}
