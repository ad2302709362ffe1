//! Names that are taken from their owners.

use super::*;
use crate::cluster::interface::MailEffect;

fn release(bench: &mut Bench, drops_mail: bool) -> Pending<Option<bool>> {
    let (reply, pending) = reply();
    bench.take(Input::Command(Command::Release { name: name("A"), drops_mail, reply }));
    pending
}

fn has_released(bench: &mut Bench) -> bool {
    bench.effects.drain(..).any(|effect| matches!(effect, Effect::Unown(of) if of == name("a")))
}

#[test]
fn a_name_is_released_when_the_bucket_has_no_card_for_it_any_more() {
    let mut bench = Bench::new();
    assert_eq!(release(&mut bench, false).wait(Duration::ZERO), Ok(Some(false)), "nobody owns it");
    bench.take(Input::Card { name: name("a"), card: bytes(&card("A", 0, 1)), revision: 5 });
    bench.effects.clear();
    let released = release(&mut bench, false);
    let [Effect::Free { revision: 5, .. }] = &bench.effects[..] else { panic!("{:?}", bench.effects) };
    let Some(Effect::Free { reply, .. }) = bench.effects.pop() else { unreachable!("it was there") };
    bench.take(Input::Freed { reply, is_done: true });
    assert_eq!(released.wait(Duration::ZERO), Ok(Some(true)));
    assert!(!has_released(&mut bench), "the bucket decides");
    bench.take(Input::NoCard { name: name("a"), revision: 6 });
    assert!(has_released(&mut bench));
    // Another key can have it, and is not disturbed by what the bucket says late.
    let claimed = bench.claim(&card("A", 1, 1));
    let other = bytes(&card("A", 1, 1));
    bench.take(Input::Claimed { name: name("a"), found: Some((other, 7)) });
    assert_eq!(claimed.wait(Duration::ZERO), Ok(Ok(())));
    bench.take(Input::NoCard { name: name("a"), revision: 6 });
    assert!(!has_released(&mut bench));
}

#[test]
fn mail_is_dropped_at_all_servers_before_the_name_is_free() {
    let mut bench = Bench::new();
    bench.take(Input::Card { name: name("a"), card: bytes(&card("A", 0, 1)), revision: 5 });
    bench.effects.clear();
    let _released = release(&mut bench, true);
    let steps = bench.effects.drain(..).map(|effect| match effect {
        Effect::Send { to: None, packet } => format!("{:?}", decode(&packet).expect("it is one").body),
        Effect::DropMail(of) => format!("drops the mail for {of}"),
        Effect::Mail(MailEffect::Purge(of)) => format!("purges the copies for {of}"),
        Effect::Free { .. } => "frees it".to_owned(),
        other => panic!("{other:?}"),
    });
    let steps: Vec<_> = steps.collect();
    assert_eq!(steps.len(), 4, "{steps:?}");
    assert!(steps[0].contains("DropMail"), "{steps:?}");
    assert_eq!(steps[1..], ["drops the mail for a", "purges the copies for a", "frees it"]);
    // The others do the same with their mail.
    bench.hear(Body::DropMail { name: name("b") });
    assert!(bench.effects.iter().any(|effect| matches!(effect, Effect::DropMail(of) if *of == name("b"))));
    // Nothing happens while it would not be heard.
    bench.take(Input::Connected(false));
    bench.effects.clear();
    assert_eq!(release(&mut bench, true).wait(Duration::ZERO), Ok(None));
    assert!(bench.effects.is_empty());
}
