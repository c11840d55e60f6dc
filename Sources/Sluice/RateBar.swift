import Console

/// A progress bar with rate and estimate; nothing unless standard error is a terminal.
final class RateBar {
    private let title: String
    private let started = ContinuousClock.now
    private var first: UInt64?

    /// A bar that shows nothing yet.
    init(_ title: String) { self.title = title }

    /// Shows that `done` of `total` offsets are folded.
    func update(_ done: UInt64, of total: UInt64) {
        guard Terminal.hasError, total > 0 else { return }
        let base = first ?? done
        first = base
        let elapsed = (ContinuousClock.now - started) / .seconds(1)
        let rate = elapsed > 0 ? Double(done - min(base, done)) / elapsed : 0
        let left = rate > 0 ? Int(Double(total - min(done, total)) / rate) : 0
        let filled = Int(min(30, done * 30 / total))
        let bar =
            String(repeating: "█", count: filled) + String(repeating: "░", count: 30 - filled)
        Terminal.write(
            "\r\(title)  \(bar) \(min(100, done * 100 / total)) %  \(Units.count(Int(rate)))/s"
                + "  \(left) s left\u{1B}[K"
        )
    }

    /// Takes the line away.
    func finish() { if Terminal.hasError { Terminal.write("\r\u{1B}[K") } }
}
