//! The web site, against nginx.

mod attacks;
mod idle;
mod servers;
mod site;
mod turns;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::Result;
use integration::{Place, repository};
use measure::Report;

use crate::interrupt::Interrupt;
use crate::{Extent, machine, tools};
use servers::Server;
use turns::{Work, Wrk};

const IDLE: &str = "idle";

/// What `--only` can choose from.
pub(crate) fn names() -> Vec<String> {
    let shapes = turns::plans().into_iter().map(|plan| plan.name());
    let attacks = attacks::MODES.iter().map(|mode| mode.name.to_owned());
    shapes.chain([IDLE.to_owned()]).chain(attacks).collect()
}

/// Measures what `extent` says.
pub(crate) fn measure(extent: &Extent, interrupt: &Interrupt) -> Result<Report> {
    let mut suite = Suite::new(extent)?;
    suite.shapes(interrupt)?;
    suite.idle(interrupt)?;
    suite.attacks(interrupt)?;
    Ok(suite.report)
}

struct Suite<'a> {
    extent: &'a Extent,
    place: Place,
    root: PathBuf,
    program: PathBuf,
    nginx: Option<PathBuf>,
    wrk: Option<PathBuf>,
    slowhttptest: Option<PathBuf>,
    descriptors: usize,
    /// How many servers there have been: each has a folder of its own.
    servers: usize,
    report: Report,
}

impl<'a> Suite<'a> {
    fn new(extent: &'a Extent) -> Result<Self> {
        let program = servers::build_ours()?;
        let place = Place::new();
        let root = place.path("site");
        site::make(&root)?;
        let [nginx, wrk, slowhttptest] = ["nginx", "wrk", "slowhttptest"].map(tools::find);
        let mut versions = vec![("switchboard", revision())];
        for (name, program, argument) in
            [("nginx", &nginx, "-v"), ("wrk", &wrk, "-v"), ("slowhttptest", &slowhttptest, "-h")]
        {
            if let Some(program) = program {
                versions.push((name, tools::version_in(&tools::say(program, &[argument]))));
            }
        }
        let report = Report {
            suite: "http",
            date: httpdate::fmt_http_date(SystemTime::now()),
            machine: machine::this(),
            versions,
            turns: extent.turns(),
            seconds_per_turn: extent.seconds(),
            shapes: Vec::new(),
            idle: Vec::new(),
            attacks: Vec::new(),
            skipped: Vec::new(),
        };
        let descriptors = machine::raise_descriptor_limit();
        Ok(Self { extent, place, root, program, nginx, wrk, slowhttptest, descriptors, servers: 0, report })
    }

    /// What is done in turns.
    fn shapes(&mut self, interrupt: &Interrupt) -> Result<()> {
        let plans: Vec<_> = turns::plans().into_iter().filter(|plan| self.extent.has(&plan.name())).collect();
        if plans.is_empty() {
            return Ok(());
        }
        let (Some(nginx), Some(wrk)) = (self.nginx.clone(), self.wrk.clone()) else {
            let missing = if self.nginx.is_none() { "nginx" } else { "wrk" };
            self.skip("every comparison with nginx", missing);
            return Ok(());
        };
        let wrk = Wrk::new(wrk, &self.place)?;
        let ours = self.start_ours()?;
        let rival = self.start_nginx(&nginx, true)?;
        let other = self.start_nginx(&nginx, false)?;
        for plan in plans {
            eprintln!("{} ...", plan.name());
            let all = [&ours, &rival, &other];
            let servers = if plan.work == Work::KeepAlive { &all[..] } else { &all[..2] };
            let shape = turns::measure(&plan, &wrk, servers, &self.root, self.extent, interrupt)?;
            self.report.shapes.push(shape);
        }
        Ok(())
    }

    fn idle(&mut self, interrupt: &Interrupt) -> Result<()> {
        if !self.extent.has(IDLE) {
            return Ok(());
        }
        eprintln!("{IDLE} ...");
        let connections = idle::connections(self.descriptors, self.extent.quick);
        let ours = self.start_ours()?;
        self.report.idle.push(idle::measure(&ours, connections, interrupt)?);
        drop(ours);
        if let Some(nginx) = self.nginx.clone() {
            let rival = self.start_nginx(&nginx, true)?;
            self.report.idle.push(idle::measure(&rival, connections, interrupt)?);
        } else {
            self.skip("memory of nginx", "nginx");
        }
        Ok(())
    }

    fn attacks(&mut self, interrupt: &Interrupt) -> Result<()> {
        let modes: Vec<_> = attacks::MODES.iter().filter(|mode| self.extent.has(mode.name)).collect();
        if modes.is_empty() {
            return Ok(());
        }
        let Some(program) = self.slowhttptest.clone() else {
            self.skip("a client during attacks", "slowhttptest");
            return Ok(());
        };
        for mode in modes {
            eprintln!("{} ...", mode.name);
            // A fresh one each: what an attack leaves behind is not the next one's.
            let server = self.start_ours()?;
            self.report.attacks.push(attacks::measure(mode, &program, &server, interrupt)?);
        }
        Ok(())
    }

    fn skip(&mut self, what: &str, missing: &str) {
        let package = if missing == "nginx" { "nginx-light" } else { missing };
        let text = format!("{what}: {missing} is not installed (Debian, Ubuntu: apt install {package})");
        eprintln!("Not measured: {text}");
        self.report.skipped.push(text);
    }

    fn start_ours(&mut self) -> Result<Server> {
        let data = self.fresh_folder();
        Server::ours(&self.program, &self.root, &data)
    }

    fn start_nginx(&mut self, program: &PathBuf, sendfile: bool) -> Result<Server> {
        let folder = self.fresh_folder();
        Server::nginx(program, &self.root, &folder, sendfile)
    }

    fn fresh_folder(&mut self) -> PathBuf {
        self.servers += 1;
        self.place.path(&format!("server-{}", self.servers))
    }
}

/// Which Switchboard this is, as git knows it.
fn revision() -> String {
    let described = Command::new("git")
        .args(["describe", "--always", "--dirty", "--exclude", "*"])
        .current_dir(Path::new(repository()))
        .output();
    let revision = described.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    revision.ok().filter(|revision| !revision.is_empty()).unwrap_or_else(|| "of unknown revision".to_owned())
}
