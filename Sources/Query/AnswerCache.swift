import Synchronization

/// Written answers by entity tag, the least recently used going first; bounded by bytes.
///
/// Tags name the question, what the token may see, and the state of the data, so an entry never
/// becomes wrong; it only stops being asked for.
final class AnswerCache: Sendable {
    /// One written answer.
    struct Entry: Sendable {
        /// The reply as it was sent, with its headers.
        var reply: APIReply
        /// When it was last used, in uses of the cache.
        var usedAt: UInt64
    }

    private struct State {
        var entries: [String: Entry] = [:]
        var bytes = 0
        var uses: UInt64 = 0
    }

    private let state = Mutex(State())
    private let bytesMax: Int

    /// What an entry costs besides its body; chosen.
    private static let overhead = 1_024

    /// A cache of at most so many bytes; 0 turns it off.
    init(bytesMax: Int) { self.bytesMax = bytesMax }

    /// The answer with a tag, if it is here.
    func reply(_ tag: String) -> APIReply? {
        state.withLock { state in
            state.uses += 1
            state.entries[tag]?.usedAt = state.uses
            return state.entries[tag]?.reply
        }
    }

    /// Keeps an answer; one larger than a quarter of the cache is not kept.
    func keep(_ reply: APIReply, _ tag: String) {
        let cost = reply.body.count + Self.overhead
        guard cost <= bytesMax / 4 else { return }
        state.withLock { state in
            guard state.entries[tag] == nil else { return }
            state.uses += 1
            state.entries[tag] = Entry(reply: reply, usedAt: state.uses)
            state.bytes += cost
            if state.bytes > bytesMax { shrink(&state) }
        }
    }

    /// Forgets the older half, so that the cost per entry stays constant.
    private func shrink(_ state: inout State) {
        let sorted = state.entries.sorted { $0.value.usedAt < $1.value.usedAt }
        for (tag, entry) in sorted where state.bytes > bytesMax / 2 {
            state.entries[tag] = nil
            state.bytes -= entry.reply.body.count + Self.overhead
        }
    }
}
