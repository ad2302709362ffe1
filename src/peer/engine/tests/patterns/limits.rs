//! How many holders and files one command looks at, and who is left out then.

use super::*;

/// Asks for `d/*`. These are found to have some; whether they are here.
fn found(have: &[(String, bool)]) -> Bench {
    let mut bench = Bench::new();
    let wanted = Wanted::Pattern("d/*".parse().expect("a good pattern"));
    let get = Command::Get { wanted, from: None, output: None, existing: Existing::Refuse };
    bench.take([Input::Command(CLIENT, get)]);
    let (id, _) = search(&mut bench);
    let hits: Vec<Hit> = have.iter().map(|(peer, online)| hit(peer, *online, ("d/1", 1, "x"))).collect();
    bench.hear(&ToPeer::Found { id, total: hits.len() as u64, hits });
    bench
}

/// Whose list is asked for, and after which name.
fn asked_list(bench: &mut Bench) -> Option<(u32, String, Option<String>)> {
    let asked = bench.sent.drain(..).find_map(|message| match message {
        ToServer::Search { id, query: Query::Names { from, after, .. }, .. } => Some((id, from, after)),
        _ => None,
    });
    asked.map(|(id, from, after)| (id, from.to_string(), after.map(|after| after.to_string())))
}

/// Answers as a server does that knows these lists: how many files of a name with this start each has. Returns in which order the
/// first parts were asked for.
fn answer_lists(bench: &mut Bench, lists: &[(&str, &str, usize)]) -> Vec<String> {
    let mut order = Vec::new();
    while let Some((id, from, after)) = asked_list(bench) {
        let (_, start, count) = lists.iter().find(|(peer, ..)| *peer == from).expect("it has a list");
        let first =
            after.as_ref().map_or(0, |after| 1 + after[start.len()..].parse::<usize>().expect("a number"));
        if after.is_none() {
            order.push(from.clone());
        }
        let numbers = first..(first + 1000).min(*count);
        let hits = numbers.map(|number| {
            let name = format!("{start}{number:06}");
            hit(&from, true, (&name, 1, &from))
        });
        bench.hear(&ToPeer::Found { id, hits: hits.collect(), total: *count as u64 });
    }
    order
}

/// The names of the files whose places on the disk are looked at.
fn looked_at(bench: &mut Bench) -> Option<(u32, Vec<String>)> {
    bench.effects.drain(..).find_map(|effect| match effect {
        Effect::PrepareMany(task, downloads) => {
            Some((task, downloads.iter().map(|download| download.name.to_string()).collect()))
        }
        _ => None,
    })
}

/// Those who are left out, and the errors.
fn left_out(bench: &mut Bench) -> (Vec<(String, HolderFault)>, Vec<String>) {
    (faults(bench), shown(bench).1)
}

#[test]
fn of_too_many_holders_those_who_are_here_are_taken() {
    let have: Vec<(String, bool)> = (0..70).map(|number| (format!("p{number:02}"), number >= 67)).collect();
    let mut bench = found(&have);
    let errors = shown(&mut bench).1;
    assert_eq!(errors.len(), 1);
    assert!(
        errors[0].starts_with(
            "6 peer(s) who have files that are called like d/* are left out, 0 of them here now"
        ),
        "{errors:?}"
    );
    let mut asked = Vec::new();
    while let Some((id, from, _)) = asked_list(&mut bench) {
        let online = from.as_str() >= "p67";
        bench.hear(&ToPeer::Found { id, hits: vec![hit(&from, online, ("d/1", 1, "x"))], total: 1 });
        asked.push(from);
    }
    assert_eq!((&asked[..4], asked.len()), (&["p67", "p68", "p69", "p00"].map(str::to_owned)[..], 64));
    let (task, names) = looked_at(&mut bench).expect("the disk is looked at");
    assert_eq!(names, ["d/1"]);
    bench.take([Input::PreparedMany(task, Ok(vec![Ok(Prepared::Here(PathBuf::from("/there")))]))]);
    assert!(is_done(&mut bench, Ending::Failed), "those who are left out may have others");
}

#[test]
fn a_holder_of_too_many_files_is_left_out_and_the_others_are_not() {
    let have = ["B", "C", "D"].map(|peer| (peer.to_owned(), true));
    let mut bench = found(&have);
    let order = answer_lists(&mut bench, &[("B", "d/", 150_000), ("C", "d/c", 2), ("D", "d/d", 1200)]);
    assert_eq!(order, ["B", "C", "D", "D"], "the short list comes before the long one");
    let (faults, errors) = {
        let reasons: Vec<String> = bench
            .events
            .iter()
            .filter_map(|event| {
                if let Event::FileHolderDropped { reason, .. } = event { Some(reason.clone()) } else { None }
            })
            .collect();
        let why = "B is left out: 150000 of its files are called like d/*, and one command fetches at most 100000; ";
        assert!(reasons.len() == 1 && reasons[0].starts_with(why), "{reasons:?}");
        left_out(&mut bench)
    };
    assert_eq!((faults, errors), (vec![("B".to_owned(), HolderFault::LeftOut)], vec![]));
    let (task, names) = looked_at(&mut bench).expect("the disk is looked at");
    assert_eq!(names.len(), 1202);
    let all = names.iter().map(|_| Ok(Prepared::Here(PathBuf::from("/there")))).collect();
    bench.take([Input::PreparedMany(task, Ok(all))]);
    assert!(is_done(&mut bench, Ending::Failed));
}

#[test]
fn of_lists_that_are_too_long_together_the_longest_is_left_out_without_a_trace() {
    let have = ["B", "C", "D"].map(|peer| (peer.to_owned(), true));
    let mut bench = found(&have);
    // The names of B and C are the same, with other contents.
    let order = answer_lists(&mut bench, &[("B", "d/", 70_000), ("C", "d/", 2), ("D", "d/d", 50_000)]);
    assert_eq!(order, ["B", "C", "D", "D", "B"]);
    let (faults, errors) = left_out(&mut bench);
    assert_eq!((faults, errors), (vec![("B".to_owned(), HolderFault::LeftOut)], vec![]));
    let (_, names) = looked_at(&mut bench).expect("the disk is looked at");
    assert_eq!((names.len(), &names[..2]), (50_002, &["d/000000", "d/000001"].map(str::to_owned)[..]));
}

#[test]
fn a_command_that_leaves_everybody_out_or_the_only_holder_fails() {
    let mut bench = found(&[("B".to_owned(), true)]);
    answer_lists(&mut bench, &[("B", "d/", 150_000)]);
    assert!(
        shown(&mut bench).1[0].starts_with("150000 files are called like that; one command fetches at most")
    );
    assert!(is_done(&mut bench, Ending::Failed));
    let mut bench = found(&["B", "C"].map(|peer| (peer.to_owned(), true)));
    answer_lists(&mut bench, &[("B", "d/", 150_000), ("C", "d/", 150_000)]);
    let (faults, errors) = left_out(&mut bench);
    assert_eq!((faults.len(), errors.len()), (2, 1));
    assert!(errors[0].starts_with("nobody is left who has files that are called like d/*"), "{errors:?}");
    assert!(is_done(&mut bench, Ending::Failed));
}
