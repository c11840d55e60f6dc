import ArgumentParser
import Console
import Foundation
import Synchronization
import Threads

/// What is written to the person at the terminal; results go to standard output, all else here.
enum Terminal {
    /// Whether standard output is a terminal, so that colour and alignment help.
    static let hasOutput = isatty(STDOUT_FILENO) == 1

    /// Whether standard error is a terminal, so that progress bars help.
    static let hasError = isatty(STDERR_FILENO) == 1

    /// Whether colours are wanted: a terminal, and `NO_COLOR` (no-color.org) not set.
    static let hasColour =
        hasOutput && ProcessInfo.processInfo.environment["NO_COLOR"] == nil
        && ProcessInfo.processInfo.environment["TERM"] != "dumb"

    /// Whether standard output can be written over: a terminal that knows how.
    static let canRedraw =
        hasOutput && ProcessInfo.processInfo.environment["TERM", default: "dumb"] != "dumb"

    /// Columns of the terminal; of the variable `COLUMNS`, or 100, if there is none.
    static var columns: Int {
        if let size = TerminalDevice.size() { return size.columns }
        let variable = ProcessInfo.processInfo.environment["COLUMNS"].flatMap { Int($0) }
        return variable.map { min(max($0, 20), 10_000) } ?? 100
    }

    /// How graphs are drawn; nil if they are not.
    static func drawing(_ choice: DrawChoice) -> Drawing? {
        let environment = ProcessInfo.processInfo.environment
        let isUnicode = Drawing.showsUnicode(environment)
        switch choice {
        case .auto: return canRedraw ? Drawing(isUnicode: isUnicode, hasColour: hasColour) : nil
        case .always:
            return Drawing(isUnicode: isUnicode, hasColour: environment["NO_COLOR"] == nil)
        case .never: return nil
        }
    }

    /// Writes to standard error as it is.
    static func write(_ text: String) {
        try? FileHandle.standardError.write(contentsOf: Data(text.utf8))
    }

    /// Writes to standard output as it is; a reader that has gone away ends the program quietly.
    static func output(_ text: String) {
        do {
            try FileHandle.standardOutput.write(contentsOf: Data(text.utf8))
        } catch {
            exit(1)
        }
    }

    /// Writes to standard output as it is; a server goes on when nobody reads.
    static func announce(_ text: String) {
        try? FileHandle.standardOutput.write(contentsOf: Data(text.utf8))
    }

    /// Makes writing to a pipe that nobody reads an error instead of the end of the process, for
    /// servers: they must stop cleanly even when the reader of their log has gone first.
    static func survivesClosedPipes() {
        signal(SIGPIPE, SIG_IGN)
    }

    /// Writes a table to standard output.
    static func show(_ table: Table, _ format: OutputFormat) {
        output(table.text(format, inBold: bold))
    }

    /// Reports a failure.
    static func error(_ text: String) {
        write("sluice: \(text)\n")
    }

    /// `text` in bold if colours are wanted.
    static func bold(_ text: String) -> String {
        hasColour ? "\u{1B}[1m\(text)\u{1B}[0m" : text
    }
}

/// A line on standard error that is rewritten as work goes on; nothing unless that is a terminal.
final class ProgressBar: Sendable {
    private struct State {
        var shown = 0
        var hasLine = false
    }

    /// What is counted.
    enum Unit: Sendable {
        /// Things.
        case things
        /// Bytes, shown with a unit.
        case bytes
    }

    private let title: String
    private let total: Int?
    private let unit: Unit
    private let state = Mutex(State())

    /// A bar for `total` units of work, or a counter if the total is not known.
    init(_ title: String, total: Int?, unit: Unit = .things) {
        self.title = title
        self.total = total
        self.unit = unit
    }

    /// Shows that `done` units are done; cheap to call often.
    func update(_ done: Int) {
        guard Terminal.hasError else { return }
        state.withLock { state in
            let step = max(1, (total ?? (unit == .bytes ? 200_000_000 : 100_000)) / 200)
            guard done - state.shown >= step || done == total else { return }
            state.shown = done
            state.hasLine = true
            Terminal.write("\r\(line(done))\u{1B}[K")
        }
    }

    /// Takes the line away, so that the summary stands alone.
    func finish() {
        state.withLock { state in
            if state.hasLine { Terminal.write("\r\u{1B}[K") }
            state.hasLine = false
        }
    }

    private func line(_ done: Int) -> String {
        let amount = unit == .bytes ? Units.bytes(Double(done)) : Units.count(done)
        guard let total, total > 0 else { return "\(title)  \(amount)" }
        let width = 30
        let filled = min(width, done * width / total)
        let bar =
            String(repeating: "█", count: filled)
            + String(repeating: "░", count: width - filled)
        return "\(title)  \(bar) \(min(100, done * 100 / total)) %  \(amount)"
    }
}

extension OutputFormat: ExpressibleByArgument {}

/// When colours, bars and sparklines are drawn.
enum DrawChoice: String, CaseIterable, ExpressibleByArgument {
    /// On terminals.
    case auto
    /// Always.
    case always
    /// Never.
    case never
}
