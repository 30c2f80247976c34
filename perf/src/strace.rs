//! Reads the summary that `strace -c` prints. Pure.

/// One row of the summary.
#[derive(Clone, Debug, PartialEq)]
pub struct Calls {
    /// Name of the system call.
    pub name: String,
    /// How often it was made.
    pub calls: u64,
    /// How many of them failed (EAGAIN among them).
    pub errors: u64,
}

/// The rows of a summary in the order given; headers, rules and the total are left out.
pub fn parse(text: &str) -> Vec<Calls> {
    text.lines().filter_map(parse_row).collect()
}

/// `% time`, `seconds`, `usecs/call`, `calls`, `errors` (empty when none), `syscall`.
fn parse_row(line: &str) -> Option<Calls> {
    let cells: Vec<&str> = line.split_ascii_whitespace().collect();
    let (calls, errors, name) = match cells.as_slice() {
        [_, _, _, calls, name] => (calls, "0", name),
        [_, _, _, calls, errors, name] => (calls, *errors, name),
        _ => return None,
    };
    cells[0].parse::<f64>().ok()?;
    if *name == "total" {
        return None;
    }
    Some(Calls { name: (*name).to_string(), calls: calls.parse().ok()?, errors: errors.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUMMARY: &str = "\
strace: Process 4242 detached
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 61.20    0.060000           3     20000           sendto
 30.10    0.030000           1     20010        10 recvfrom
  8.70    0.008500          10       800           epoll_wait
------ ----------- ----------- --------- --------- ----------------
100.00    0.098500           2     40810        10 total
";

    #[test]
    fn rows_with_and_without_errors() {
        let row = |name: &str, calls, errors| Calls { name: name.into(), calls, errors };
        assert_eq!(
            parse(SUMMARY),
            [row("sendto", 20_000, 0), row("recvfrom", 20_010, 10), row("epoll_wait", 800, 0)]
        );
    }

    #[test]
    fn an_empty_summary_has_no_rows() {
        assert_eq!(parse("% time     seconds  usecs/call     calls    errors syscall\n"), []);
        assert_eq!(parse(""), []);
    }
}
