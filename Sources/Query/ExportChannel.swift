import Dispatch
import Postgres
import Synchronization

/// Carries pieces of a body from the thread that reads the database to the task that writes to the
/// client; holds few, so that memory does not depend on the length of the answer.
///
/// One sender, which blocks; one receiver, which suspends.
package final class ExportChannel: Sendable {
    private struct State {
        var pieces: [[UInt8]] = []
        var isFinished = false
        var isClosed = false
        var receiver: CheckedContinuation<[UInt8]?, Never>?
    }

    /// Pieces held at most; chosen: one being written, some being made.
    private static let piecesMax = 4
    private let state = Mutex(State())
    /// Made with 0 and raised: libdispatch traps when a semaphore goes that is lower than it was
    /// made, as with pieces that nobody took.
    private let room = DispatchSemaphore(value: 0)

    private let patienceSeconds: Int

    /// An empty channel, whose sender waits so long for a client that does not read; chosen.
    package init(patienceSeconds: Int = 60) {
        self.patienceSeconds = patienceSeconds
        for _ in 0..<Self.piecesMax { room.signal() }
    }

    /// Sends a piece; blocks while the receiver has enough. False if nobody will take it.
    package func send(_ piece: [UInt8]) -> Bool {
        guard room.wait(timeout: .now() + .seconds(patienceSeconds)) == .success else {
            close()
            return false
        }
        var receiver: CheckedContinuation<[UInt8]?, Never>?
        let isTaken = state.withLock { state in
            if state.isClosed { return false }
            receiver = state.receiver
            state.receiver = nil
            if receiver == nil { state.pieces.append(piece) }
            return true
        }
        if let receiver {
            room.signal()
            receiver.resume(returning: piece)
        }
        return isTaken
    }

    /// Says that nothing more comes; what was sent is still received if the answer is whole.
    func finish(isWhole: Bool) {
        let receiver = state.withLock { state in
            state.isFinished = true
            if !isWhole { state.pieces = [] }
            defer { state.receiver = nil }
            return state.receiver
        }
        receiver?.resume(returning: nil)
    }

    /// Says that nothing more is wanted.
    package func close() {
        state.withLock { $0.isClosed = true }
        room.signal()
    }

    /// Whether nothing more is wanted.
    var isClosed: Bool { state.withLock { $0.isClosed } }

    /// The next piece; nil after the last.
    package func next() async -> [UInt8]? {
        await withCheckedContinuation { continuation in
            let ready: [UInt8]?? = state.withLock { state in
                if !state.pieces.isEmpty { return .some(.some(state.pieces.removeFirst())) }
                if state.isFinished || state.isClosed { return .some(.none) }
                state.receiver = continuation
                return nil
            }
            guard let ready else { return }
            if ready != nil { room.signal() }
            continuation.resume(returning: ready)
        }
    }
}

/// A body of any length, made while it is written.
package struct ExportStream: Sendable {
    private let make: @Sendable (ExportChannel) async throws -> Void

    /// A stream of what `make` sends.
    init(_ make: @escaping @Sendable (ExportChannel) async throws -> Void) { self.make = make }

    /// Sends the body into a channel and finishes that; throws if it could not be made to its end.
    ///
    /// Ends soon after the channel is closed.
    package func fill(_ channel: ExportChannel) async throws {
        do {
            try await make(channel)
            // A reader that was waited for in vain must not take a part for the whole.
            guard !channel.isClosed else {
                throw Problem(.unavailable, "the reader took too long")
            }
            channel.finish(isWhole: true)
        } catch {
            channel.finish(isWhole: false)
            throw error
        }
    }

    /// The whole body; for tests.
    package func collect() async throws -> [UInt8] {
        let channel = ExportChannel()
        async let made: Void = fill(channel)
        var bytes: [UInt8] = []
        while let piece = await channel.next() { bytes += piece }
        try await made
        return bytes
    }
}

/// Gathers bytes into pieces that are worth sending.
struct ExportPieces {
    /// Thrown at the database to stop it when nobody takes more.
    static let abandoned = PostgresError(call: "ExportPieces", message: "nobody takes more")

    /// Bytes that are worth a piece; chosen.
    private static let pieceBytes = 64 << 10

    private let channel: ExportChannel

    /// What is not sent yet.
    var bytes: [UInt8] = []

    /// Whether nobody takes more.
    private(set) var isAbandoned = false

    /// No bytes yet, for `channel`.
    init(_ channel: ExportChannel) { self.channel = channel }

    /// Sends the bytes if they are worth it; blocks while the reader has enough.
    mutating func sendIfLong() {
        if bytes.count >= Self.pieceBytes { send() }
    }

    /// Sends the bytes; blocks while the reader has enough.
    mutating func send() {
        guard !bytes.isEmpty, !isAbandoned else { return }
        isAbandoned = !channel.send(bytes)
        bytes.removeAll(keepingCapacity: true)
    }
}

/// Writes rows as lines into a channel.
///
/// Owner: the thread that reads the question's rows.
final class ExportSink: RowSink {
    private let answer: UsageAnswer
    private let labels: [String]
    private var pieces: ExportPieces

    var isDone: Bool { pieces.isAbandoned }

    /// A sink for the rows of `answer`.
    init(_ answer: UsageAnswer, _ channel: ExportChannel) {
        self.answer = answer
        labels = UsageWriter.labels(answer)
        pieces = ExportPieces(channel)
        pieces.bytes = UsageWriter.head(answer)
    }

    func add(_ row: UsageAnswer.Row) {
        guard !isDone else { return }
        UsageWriter.line(row, nil, answer, labels, &pieces.bytes)
        pieces.sendIfLong()
    }

    func end() { pieces.send() }
}
