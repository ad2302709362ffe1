//! Shows how far transfers and the reading of files are: at a prompt as lines, else as bars on standard error, if that is a
//! terminal.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};
use wire::FileName;
use wire::escape::Escaped;

use crate::peer::event::{Answer, Event};

/// How often the progress of a file is printed at a prompt.
const LINE_EVERY: Duration = Duration::from_secs(2);

const STYLE: &str = "{msg}{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}";

#[derive(Default)]
pub(super) struct Progress {
    bars: MultiProgress,
    /// For the only file, or for all of many.
    whole: Option<ProgressBar>,
    /// For each large one of many files.
    each: HashMap<FileName, ProgressBar>,
    /// Whether many files are being received.
    is_many: bool,
    /// When the transfer or the reading of a file began, from which byte, and when its progress was last printed.
    moving: HashMap<FileName, (Instant, u64, Instant)>,
    many_printed: Option<Instant>,
}

impl Progress {
    /// Shows the progress of one file; at a prompt as a line every [`LINE_EVERY`].
    pub(super) fn of_file(
        &mut self,
        is_at_prompt: bool,
        doing: &str,
        name: &FileName,
        (done, total): (u64, u64),
    ) -> Option<String> {
        if is_at_prompt {
            return self.line(doing, name, done, total, Instant::now());
        }
        if !self.is_many {
            let bar = self.whole.get_or_insert_with(|| bar(&self.bars, doing.to_owned()));
            move_to(bar, done, total);
        } else if done == total {
            if let Some(bar) = self.each.remove(name) {
                bar.finish_and_clear();
            }
        } else {
            let new = || bar(&self.bars, format!("{} ", Escaped(name.as_str())));
            move_to(self.each.entry(name.clone()).or_insert_with(new), done, total);
        }
        None
    }

    /// Shows the progress of many files: how many are done and how many there are, and the same of their bytes.
    pub(super) fn of_many(
        &mut self,
        is_at_prompt: bool,
        (files_done, files): (u64, u64),
        (done, total): (u64, u64),
    ) -> Option<String> {
        self.is_many = true;
        let message = format!("{files_done} of {files} files ");
        if !is_at_prompt {
            let bar = self.whole.get_or_insert_with(|| bar(&self.bars, String::new()));
            bar.set_message(message);
            move_to(bar, done, total);
            return None;
        }
        let now = Instant::now();
        if self.many_printed.is_some_and(|last| now.duration_since(last) < LINE_EVERY) {
            return None;
        }
        self.many_printed = Some(now);
        let (done, total) = (HumanBytes(done), HumanBytes(total));
        Some(format!("{message}fetched, {done} of {total}"))
    }

    /// The line for a file at a prompt, if it is time for one.
    pub(super) fn line(
        &mut self,
        doing: &str,
        name: &FileName,
        done: u64,
        total: u64,
        now: Instant,
    ) -> Option<String> {
        let (begun, first, last) = self.moving.entry(name.clone()).or_insert((now, done, now));
        if done == total {
            self.moving.remove(name);
            return None;
        }
        if now.duration_since(*last) < LINE_EVERY {
            return None;
        }
        *last = now;
        let millis = now.duration_since(*begun).as_millis().max(1);
        let rate = u128::from(done.saturating_sub(*first)) * 1000 / millis;
        let rate = HumanBytes(u64::try_from(rate).unwrap_or(u64::MAX));
        let percent = u128::from(done) * 100 / u128::from(total.max(1));
        let (name, total) = (Escaped(name.as_str()), HumanBytes(total));
        Some(format!("{doing}{name}: {percent} % of {total}, {rate}/s"))
    }

    /// Makes room for the text of an event. Many files have bars until the end of all of them.
    pub(super) fn before_text(&mut self, event: &Event) {
        match event {
            Event::FileDone { .. } | Event::Error { .. } if self.is_many => {
                // The next progress draws them again.
                let _ = self.bars.clear();
            }
            Event::Result(Answer::Fetched { .. }) | Event::FileDone { .. } | Event::Error { .. } => {
                self.end();
            }
            Event::Result(_) if !self.is_many => self.end(),
            _ => {}
        }
    }

    /// Whether many files are being received.
    pub(super) fn is_of_many(&self) -> bool {
        self.is_many
    }

    #[cfg(test)]
    pub(super) fn has_bars(&self) -> bool {
        self.whole.is_some() || !self.each.is_empty()
    }

    fn end(&mut self) {
        self.moving.clear();
        (self.is_many, self.many_printed) = (false, None);
        for bar in self.whole.take().into_iter().chain(self.each.drain().map(|(_, bar)| bar)) {
            bar.finish_and_clear();
        }
    }
}

fn bar(bars: &MultiProgress, message: String) -> ProgressBar {
    let style = ProgressStyle::with_template(STYLE).expect("the template is valid");
    bars.add(ProgressBar::new(0).with_message(message).with_style(style))
}

fn move_to(bar: &ProgressBar, done: u64, total: u64) {
    if bar.position() == 0 {
        // What was there before does not count in the rate.
        bar.reset_eta();
    }
    bar.set_length(total);
    bar.set_position(done);
}
