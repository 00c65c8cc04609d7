//! One run of the program: what a command does, in order. Returns what to print.

use crate::address::{self, PassThrough, Removal};
use crate::cli::{self, Command};
use crate::failure::Failure;
use crate::netlink::Socket;
use crate::nft::{self, Program, lacking};
use crate::proof::{self, Proof};
use crate::rules::{families, rules};
use crate::ruleset::{Family, Ruleset};
use crate::{capability, settings};
use mesh_config::Capture;
use std::fmt::Write;
use std::time::Instant;

const NO_CAPTURE: &str = "capture-mode none: nothing is redirected and nothing was changed \
                          (--clean-up removes rules of an earlier run)\n";

/// `get` reads the environment.
pub fn run(command: Command, get: impl Fn(&str) -> Option<String>) -> Result<String, Failure> {
    // clean-up must work whatever the settings are
    match command {
        Command::Help => return Ok(cli::help()),
        Command::CleanUp => return clean_up(),
        Command::Apply | Command::DryRun | Command::VerifyOnly => {}
    }
    let capture = settings::read(get).map_err(Failure::Settings)?;
    match (rules(&capture), command) {
        (Some(rules), Command::DryRun) => Ok(nft::text(&rules)),
        (None, Command::DryRun) => Ok("# capture-mode none: no rules\n".into()),
        (Some(rules), Command::VerifyOnly) => verify(&capture, &rules),
        (Some(rules), _) => apply(&capture, &rules),
        (None, _) => Ok(NO_CAPTURE.into()),
    }
}

fn apply(capture: &Capture, rules: &Ruleset) -> Result<String, Failure> {
    let start = Instant::now();
    capability::raise()?;
    let mut netfilter = open_netfilter()?;
    let want = nft::lower(rules);
    nft::load(&mut netfilter, &want)?;
    let kernel = nft::read_back(&mut netfilter).map_err(Failure::NotRead)?.ok_or(Failure::NoTable)?;
    compare(&want, &kernel)?;
    let mut route = Socket::open(libc::NETLINK_ROUTE).map_err(Failure::Route)?;
    address::ensure(&mut route).map_err(Failure::Address)?;
    let proofs = prove(&mut route, capture)?;
    Ok(summary("capture in place", &want, &proofs, start))
}

fn verify(capture: &Capture, rules: &Ruleset) -> Result<String, Failure> {
    let start = Instant::now();
    capability::raise()?;
    let mut netfilter = open_netfilter()?;
    let want = nft::lower(rules);
    let kernel = nft::read_back(&mut netfilter).map_err(Failure::NotRead)?.ok_or(Failure::NoTable)?;
    compare(&want, &kernel)?;
    let mut route = Socket::open(libc::NETLINK_ROUTE).map_err(Failure::Route)?;
    if address::look(&mut route).map_err(Failure::Address)? == PassThrough::Missing {
        return Err(Failure::NoAddress);
    }
    let proofs = prove(&mut route, capture)?;
    Ok(summary("capture verified", &want, &proofs, start))
}

fn clean_up() -> Result<String, Failure> {
    capability::raise()?;
    nft::remove(&mut open_netfilter()?)?;
    let mut route = Socket::open(libc::NETLINK_ROUTE).map_err(Failure::Route)?;
    let address = match address::remove(&mut route).map_err(Failure::Address)? {
        Removal::Removed => ", and ::6/128 from lo",
        Removal::Kept => "; ::6/128 stays on lo, since somebody else put it there or this kernel can't tell who did",
        Removal::Absent => "",
    };
    Ok(format!("cleaned up: the table is gone{address}\n"))
}

fn open_netfilter() -> Result<Socket, Failure> {
    Socket::open(libc::NETLINK_NETFILTER).map_err(|error| match lacking::of_socket(&error) {
        Some(lacking) => Failure::Lacking { lacking, refused: error.to_string() },
        None => Failure::NotLoaded { error: error.into() },
    })
}

fn compare(want: &Program, kernel: &Program) -> Result<(), Failure> {
    let differences = want.differences(kernel);
    if differences.is_empty() { Ok(()) } else { Err(Failure::Differs(differences)) }
}

fn prove(route: &mut Socket, capture: &Capture) -> Result<Vec<(Family, Proof)>, Failure> {
    let mut proofs = Vec::new();
    for family in families(capture.ip_families) {
        proofs.push((*family, proof::prove(route, capture, *family).map_err(Failure::Route)??));
    }
    Ok(proofs)
}

/// One line.
fn summary(what: &str, program: &Program, proofs: &[(Family, Proof)], start: Instant) -> String {
    let (chains, rules) = (program.chains.len(), program.rules());
    let (sets, ranges) = (program.sets.len(), program.intervals());
    let mut line = format!("{what}: chains {chains}, rules {rules}, sets {sets}, ranges {ranges}");
    for (family, proof) in proofs {
        let name = family.name();
        let _ = match proof {
            Proof::ByWord(target) => write!(line, "; {name} proven by {target}"),
            Proof::ByConnection(target) => write!(line, "; {name} proven by {target} with a proxy running"),
            Proof::NotInUse => write!(line, "; {name} not in use here (no route)"),
            Proof::NotPossible(reason) => write!(line, "; {name} not proven, since {reason}"),
        };
    }
    let _ = writeln!(line, "; {} ms", start.elapsed().as_millis());
    line
}
