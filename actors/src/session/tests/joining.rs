//! Joining.

use super::*;

#[test]
fn a_join_that_fails_says_why() {
    let cases = [
        (Some(Err(JoinRefused::NameTaken)), ErrorCode::NameTaken),
        (Some(Err(JoinRefused::Superseded)), ErrorCode::Superseded),
        (Some(Err(JoinRefused::NoCluster)), ErrorCode::Busy),
        (Some(Err(JoinRefused::Busy)), ErrorCode::Busy),
        (Some(Err(JoinRefused::TooManyNames)), ErrorCode::Busy),
        (None, ErrorCode::Busy),
    ];
    for (answer, code) in cases {
        let mut bench = Bench::new(&join());
        bench.take(Input::Received(0));
        bench.take(Input::Joined(answer));
        assert_eq!(bench.refusal(), code);
        assert_eq!(bench.session.member(), None, "nothing is to be handed back");
    }
    let mut bench = Bench::new(&join());
    bench.take(Input::Received(0));
    bench.take(Input::Joined(Some(Ok(PeerKey(5)))));
    assert!(
        !bench.told().iter().any(|told| matches!(told, ToPeer::Welcome { .. })),
        "its card is not on disk"
    );
    bench.take(Input::CardWritten(false));
    assert_eq!(bench.refusal(), ErrorCode::Busy);
    assert!(bench.session.member().is_some(), "the Router has to be told");
}

#[test]
fn a_claim_goes_to_admission_and_its_refusal_to_the_peer() {
    let (identity, card) = &*KEYS;
    let text = join_proof_text(&greeting(), card.as_bytes(), None);
    let proof = identity.sign(Purpose::Join, &text, &mut rand::rng());
    let invitation = Invitation::new([1; 16], &KEY.public().fingerprint()).claim(&text);
    let join = ToServer::Join { card: card.as_bytes().to_vec(), proof, invitation: Some(invitation) };
    for (refused, code) in [
        (NotAdmitted::NoInvitation, ErrorCode::NotAdmitted),
        (NotAdmitted::NotWritten("disk full".into()), ErrorCode::Busy),
    ] {
        let mut bench = Bench::new(&frame::frame(&join));
        bench.take(Input::Received(0));
        match &bench.effects()[..] {
            [Effect::Join(_, Some(claim))] => {
                let proof_text = text.clone();
                assert_eq!(**claim, Claim { invitation, proof_text, is_elsewhere: false });
            }
            other => panic!("no claim: {other:?}"),
        }
        bench.take(Input::Joined(Some(Err(JoinRefused::NotAdmitted(refused)))));
        assert_eq!(bench.refusal(), code);
    }
}

#[test]
fn a_server_shows_before_the_welcome_that_it_knows_an_invitation_that_names_another_one() {
    let (identity, card) = &*KEYS;
    let text = join_proof_text(&greeting(), card.as_bytes(), None);
    let proof = identity.sign(Purpose::Join, &text, &mut rand::rng());
    let invitation = Invitation::new([1; 16], &Digest::of(b"another server")).claim(&text);
    let join = ToServer::JoinInvited { card: card.as_bytes().to_vec(), proof, invitation };
    let mut bench = Bench::new(&frame::frame(&join));
    bench.take(Input::Received(0));
    match &bench.effects()[..] {
        [Effect::Join(_, Some(claim))] => assert!(claim.is_elsewhere),
        other => panic!("no claim: {other:?}"),
    }
    bench.take(Input::Invited([3; 32]));
    bench.take(Input::Joined(Some(Ok(PeerKey(5)))));
    bench.take(Input::CardWritten(true));
    let told = bench.told();
    assert!(
        matches!(told[..], [ToPeer::Hello(_), ToPeer::Invited { proof: [3, ..] }, ToPeer::Welcome { .. }]),
        "{told:?}"
    );
}

#[test]
fn a_join_is_good_for_one_tls_connection() {
    let (identity, card) = &*KEYS;
    let [own, other] = [[1; 32], [2; 32]].map(ChannelBinding);
    for (signed, binding, is_good) in [
        (Some(&own), Some(own), true),
        (Some(&other), Some(own), false),
        (None, Some(own), false),
        (Some(&own), None, false),
    ] {
        let text = join_proof_text(&greeting(), card.as_bytes(), signed);
        let proof = identity.sign(Purpose::Join, &text, &mut rand::rng());
        let join = ToServer::Join { card: card.as_bytes().to_vec(), proof, invitation: None };
        let mut bench = Bench::bound(&frame::frame(&join), binding);
        bench.take(Input::Received(0));
        match &bench.effects[..] {
            [Effect::Join(..)] => assert!(is_good, "{signed:?} {binding:?}"),
            _ => {
                assert!(!is_good, "{signed:?} {binding:?}");
                assert_eq!(bench.refusal(), ErrorCode::BadProof);
            }
        }
    }
}

#[test]
fn the_server_proves_its_key_in_the_welcome() {
    let join = join();
    let Ok(ToServer::Join { proof: sent, .. }) = ToServer::decode(&join[LENGTH_BYTES..]) else {
        panic!("it is a join");
    };
    let mut bench = Bench::new(&join);
    bench.take(Input::Received(0));
    bench.take(Input::Joined(Some(Ok(PeerKey(5)))));
    bench.take(Input::CardWritten(true));
    match &bench.told()[..] {
        [ToPeer::Hello(shown), ToPeer::Welcome { proof, .. }] => {
            assert_eq!(shown.key.verify_welcome(&sent, proof), Ok(()));
        }
        other => panic!("no welcome: {other:?}"),
    }
}

#[test]
fn a_card_that_cannot_be_used_now_is_refused() {
    const HOUR: u64 = 60 * 60;
    let now = Now::read().unix();
    let encryption = EncryptionKey::generate(2048, &mut rand::rng()).expect("a good size");
    let join_with = |issued_at| {
        let name = "A".parse().expect("a good name");
        let card = Card::issue(name, &KEYS.0, encryption.public(), term(issued_at), &mut rand::rng());
        let text = join_proof_text(&greeting(), card.as_bytes(), None);
        let proof = KEYS.0.sign(Purpose::Join, &text, &mut rand::rng());
        let mut bench = Bench::new(&frame::frame(&ToServer::Join {
            card: card.as_bytes().to_vec(),
            proof,
            invitation: None,
        }));
        bench.take(Input::Received(0));
        bench
    };
    for (issued_at, what) in [(now + 2 * HOUR, "future"), (now - 9 * 24 * HOUR, "expired")] {
        let told = join_with(issued_at).told();
        let [_, ToPeer::Error { code: ErrorCode::BadCard, detail }] = &told[..] else { panic!("{told:?}") };
        assert!(detail.contains(what), "{detail}");
    }
    for issued_at in [now + HOUR / 2, now - 7 * 24 * HOUR] {
        assert!(matches!(join_with(issued_at).effects[..], [Effect::Join(..)]), "{issued_at}");
    }
}
