//! The web site, compared with nginx.

mod attacks;
mod handshakes;
mod idle;
mod site;
mod turns;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use integration::Sandbox;
use measure::Report;

use crate::interrupt::Interrupt;
use crate::servers::{self, Server, Setting};
use crate::{Extent, machine, tools};
pub(crate) use handshakes::Tls;
use turns::{Plan, Wrk};

const IDLE: &str = "idle";
const IDLE_TLS: &str = "idle-tls";
const THREADS_OPTION: &str = "--http-threads";

/// The names for `--only`.
pub(crate) fn names() -> Vec<String> {
    let shapes = turns::plans().into_iter().map(|plan| plan.name());
    let attacks = attacks::MODES.iter().map(|mode| mode.name.to_owned());
    shapes.chain([IDLE, IDLE_TLS].map(str::to_owned)).chain(attacks).collect()
}

/// Measures the shapes, the memory and the attacks that `extent` selects.
pub(crate) fn measure(extent: &Extent, interrupt: &Interrupt) -> Result<Report> {
    let mut suite = Suite::new(extent)?;
    suite.shapes(interrupt)?;
    suite.idle(IDLE, false, interrupt)?;
    suite.idle(IDLE_TLS, true, interrupt)?;
    suite.attacks(interrupt)?;
    Ok(suite.report)
}

struct Suite<'a> {
    extent: &'a Extent,
    sandbox: Sandbox,
    tls: Tls,
    root: PathBuf,
    program: PathBuf,
    nginx: Option<PathBuf>,
    wrk: Option<PathBuf>,
    slowhttptest: Option<PathBuf>,
    descriptors: usize,
    /// The number of servers so far; each has its own directory.
    servers: usize,
    report: Report,
}

impl<'a> Suite<'a> {
    fn new(extent: &'a Extent) -> Result<Self> {
        let program = servers::build("server")?;
        let sandbox = Sandbox::new();
        let root = sandbox.path("site");
        let tls = Tls::new(&sandbox)?;
        site::make(&root)?;
        let [nginx, wrk, slowhttptest] = ["nginx", "wrk", "slowhttptest"].map(tools::find);
        let mut versions = BTreeMap::from([("switchboard".to_owned(), tools::revision())]);
        for (name, program, argument) in
            [("nginx", &nginx, "-v"), ("wrk", &wrk, "-v"), ("slowhttptest", &slowhttptest, "-h")]
        {
            if let Some(program) = program {
                versions.insert(name.to_owned(), tools::version_in(&tools::say(program, &[argument])));
            }
        }
        let report = tools::report("http", "nginx", versions, extent);
        let descriptors = machine::raise_descriptor_limit();
        Ok(Self {
            extent,
            sandbox,
            tls,
            root,
            program,
            nginx,
            wrk,
            slowhttptest,
            descriptors,
            servers: 0,
            report,
        })
    }

    /// The shapes, which are measured in turns.
    fn shapes(&mut self, interrupt: &Interrupt) -> Result<()> {
        let plans: Vec<_> = turns::plans().into_iter().filter(|plan| self.extent.has(&plan.name())).collect();
        if plans.is_empty() {
            return Ok(());
        }
        let (Some(nginx), Some(wrk)) = (self.nginx.clone(), self.wrk.clone()) else {
            let missing = if self.nginx.is_none() { "nginx" } else { "wrk" };
            self.skip_for_lack("every comparison with nginx", missing);
            return Ok(());
        };
        let wrk = Wrk::new(wrk, &self.sandbox, self.tls.clone())?;
        let rivals = servers::SETTINGS
            .iter()
            .map(|setting| self.start_nginx(&nginx, setting))
            .collect::<Result<Vec<_>>>()?;
        let (with_threads, without): (Vec<Plan>, Vec<Plan>) =
            plans.into_iter().partition(|plan| plan.with_threads);
        self.compare(&without, &wrk, &[], &rivals, interrupt)?;
        self.compare(&with_threads, &wrk, &[THREADS_OPTION], &rivals, interrupt)
    }

    /// Measures shapes with our server and these options of it.
    fn compare(
        &mut self,
        plans: &[Plan],
        wrk: &Wrk,
        options: &[&str],
        rivals: &[Server],
        interrupt: &Interrupt,
    ) -> Result<()> {
        if plans.is_empty() {
            return Ok(());
        }
        let ours = self.start_ours(options)?;
        for plan in plans {
            eprintln!("{} ...", plan.name());
            let shape = turns::measure(plan, wrk, &ours, rivals, &self.root, self.extent, interrupt)?;
            self.report.shapes.push(shape);
        }
        Ok(())
    }

    fn idle(&mut self, name: &str, with_tls: bool, interrupt: &Interrupt) -> Result<()> {
        if !self.extent.has(name) {
            return Ok(());
        }
        eprintln!("{name} ...");
        let names = if with_tls { ["switchboard, TLS", "nginx, TLS"] } else { ["switchboard", "nginx"] };
        let connections = idle::connections(self.descriptors, self.extent.quick);
        let ours = self.start_ours(&[])?;
        let tls = with_tls.then(|| Arc::clone(&self.tls.client));
        let limit = Some(idle::LIMIT_KIB);
        let idle = idle::measure(&ours, names[0], tls.as_ref(), limit, connections, interrupt)?;
        self.report.idle.push(idle);
        drop(ours);
        if let Some(nginx) = self.nginx.clone() {
            let rival = self.start_nginx(&nginx, &servers::SETTINGS[0])?;
            self.report.idle.push(idle::measure(
                &rival,
                names[1],
                tls.as_ref(),
                None,
                connections,
                interrupt,
            )?);
        } else {
            self.skip_for_lack("memory of nginx", "nginx");
        }
        Ok(())
    }

    fn attacks(&mut self, interrupt: &Interrupt) -> Result<()> {
        let modes: Vec<_> = attacks::MODES.iter().filter(|mode| self.extent.has(mode.name)).collect();
        if modes.is_empty() {
            return Ok(());
        }
        let Some(program) = self.slowhttptest.clone() else {
            self.skip_for_lack("a client during attacks", "slowhttptest");
            return Ok(());
        };
        for mode in modes {
            eprintln!("{} ...", mode.name);
            // A new server for each mode, so that no attack affects the next one.
            let server = self.start_ours(&[])?;
            self.report.attacks.push(attacks::measure(mode, &program, &server, interrupt)?);
        }
        Ok(())
    }

    fn skip_for_lack(&mut self, what: &str, missing: &str) {
        let package = if missing == "nginx" { "nginx-light" } else { missing };
        self.skip(format!("{what}: {missing} is not installed (Debian, Ubuntu: apt install {package})"));
    }

    fn skip(&mut self, text: String) {
        tools::skip(&mut self.report, text);
    }

    fn start_ours(&mut self, options: &[&str]) -> Result<Server> {
        let data = self.fresh_folder();
        Server::ours(&self.program, &self.root, &data, Some(&self.tls), options)
    }

    fn start_nginx(&mut self, program: &PathBuf, setting: &Setting) -> Result<Server> {
        let folder = self.fresh_folder();
        Server::nginx(program, &self.root, &folder, &self.tls, setting)
    }

    fn fresh_folder(&mut self) -> PathBuf {
        self.servers += 1;
        self.sandbox.path(&format!("server-{}", self.servers))
    }
}
