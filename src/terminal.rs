//! How the commands print on standard output.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use rpassword::{ConfigBuilder, prompt_password_with_config};
use signal_hook::consts::SIGINT;
use zeroize::Zeroizing;

/// Whether to use colours: standard output is a terminal, and `NO_COLOR` is not set (no-color.org).
pub fn wants_colour() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) && io::stdout().is_terminal()
}

/// Writes text to standard output and flushes it, because that may be a pipe.
///
/// # Errors
/// Standard output cannot be written, or is a pipe that its reader has closed.
pub fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes a line like [`write()`], but a pipe that its reader has closed is not an error.
///
/// # Errors
/// Standard output cannot be written.
pub fn print_line(line: &str) -> io::Result<()> {
    match write(&format!("{line}\n")) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// A text as a QR code for a terminal with a dark background; `None` if it is too long for one.
pub fn qr_code(text: &str) -> Option<String> {
    // Nothing damages a code on a screen, so the lowest level of error correction, which gives the smallest code, is enough.
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    // Readers expect dark on light, and a terminal writes light on dark.
    Some(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

/// Asks for a secret on the terminal that is standard input, without echo.
///
/// # Errors
/// The terminal cannot be used; `Interrupted` after Ctrl-C, `InvalidData` for input that is not UTF-8.
pub fn ask_secret(prompt: &str) -> io::Result<Zeroizing<String>> {
    // rpassword raises SIGINT before it restores the terminal. With a handler, the process lives on and the terminal is
    // restored.
    signal_hook::flag::register(SIGINT, Arc::new(AtomicBool::new(false)))?;
    let terminal = ConfigBuilder::new().input_file_path("/dev/stdin").output_writer(io::stderr()).build();
    prompt_password_with_config(prompt, terminal).map(Zeroizing::new)
}

pub fn print_completions<C: clap::CommandFactory>(shell: clap_complete::Shell, name: &str) -> ExitCode {
    clap_complete::generate(shell, &mut C::command(), name, &mut io::stdout());
    ExitCode::SUCCESS
}
