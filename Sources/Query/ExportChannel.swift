import Dispatch
import Synchronization

/// Carries pieces of a body from the thread that reads the database to the task that writes to the
/// client; holds few, so that memory does not depend on the length of the answer.
///
/// One sender, which blocks; one receiver, which suspends.
final class ExportChannel: Sendable {
    private struct State {
        var pieces: [[UInt8]] = []
        var isFinished = false
        var isClosed = false
        var receiver: CheckedContinuation<[UInt8]?, Never>?
    }

    /// Pieces held at most; chosen: one being written, some being made.
    private static let piecesMax = 4
    /// How long the sender waits for a client that does not read, seconds; chosen.
    private static let patience = 60

    private let state = Mutex(State())
    private let room = DispatchSemaphore(value: ExportChannel.piecesMax)

    /// An empty channel.
    init() {}

    /// Sends a piece; blocks while the receiver has enough. False if nobody will take it.
    func send(_ piece: [UInt8]) -> Bool {
        guard room.wait(timeout: .now() + .seconds(Self.patience)) == .success else {
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
    func close() {
        state.withLock { $0.isClosed = true }
        room.signal()
    }

    /// The next piece; nil after the last.
    func next() async -> [UInt8]? {
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
    func fill(_ channel: ExportChannel) async throws {
        do {
            try await make(channel)
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

/// Writes rows as lines into a channel.
///
/// Owner: the thread that reads the question's rows.
final class ExportSink: RowSink {
    private let answer: UsageAnswer
    private let labels: [String]
    private let channel: ExportChannel
    private var bytes: [UInt8]
    private(set) var isDone = false

    /// Bytes that are worth a piece; chosen.
    private static let pieceBytes = 64 << 10

    /// A sink for the rows of `answer`.
    init(_ answer: UsageAnswer, _ channel: ExportChannel) {
        self.answer = answer
        self.channel = channel
        labels = UsageWriter.labels(answer)
        bytes = UsageWriter.head(answer)
    }

    func add(_ row: UsageAnswer.Row) {
        guard !isDone else { return }
        UsageWriter.line(row, nil, answer, labels, &bytes)
        if bytes.count >= Self.pieceBytes { flush() }
    }

    func end() { flush() }

    private func flush() {
        guard !bytes.isEmpty, !isDone else { return }
        isDone = !channel.send(bytes)
        bytes.removeAll(keepingCapacity: true)
    }
}
