internal import FileIO
package import Records

/// Appends records to a log that is published only when it is complete.
package final class SealedLogWriter {
    /// The log.
    package let logID: LogID
    /// The offset that the next record gets.
    package private(set) var nextOffset = Offset.zero

    private let directory: String
    private let template: SegmentHeader
    private let configuration: LogConfiguration
    private let fileSystem: any FileSystem
    private let time: any TimeSource
    private let random: () -> UInt64
    private var batch: BatchBuilder
    private var segment: LaneSegment?

    /// Batches are written when they have reached this size; chosen: large enough that a system
    /// call is nothing, small enough that one damaged bit costs little.
    private static let batchBytes = 256 << 10

    init(
        directory: String,
        template: SegmentHeader,
        configuration: LogConfiguration,
        fileSystem: any FileSystem,
        time: any TimeSource,
        random: @escaping () -> UInt64
    ) throws(EventLogError) {
        logID = template.logID
        self.directory = directory
        self.template = template
        self.configuration = configuration
        self.fileSystem = fileSystem
        self.time = time
        self.random = random
        batch = BatchBuilder(logID: template.logID)
    }

    /// Appends a record; batches are written as they fill up.
    ///
    /// - Parameters:
    ///   - eventTime: When the call completed, µs since the epoch.
    ///   - encode: Encodes the fields from kind onwards.
    /// - Returns: The record's offset.
    /// - Throws: `recordTooLarge` (nothing was appended then), or an error of the file system (the
    ///   log cannot be completed then).
    @discardableResult
    package func append(
        eventTime: Int64,
        _ encode: (inout RecordEncoder) -> Void
    ) throws(EventLogError) -> Offset {
        if batch.byteCount >= min(Self.batchBytes, configuration.batchBytesMax) {
            try write()
        }
        let offset = nextOffset
        try batch.append(
            offset: offset,
            eventTime: eventTime,
            bytesMax: configuration.recordBytesMax,
            encode
        )
        nextOffset = offset.advanced(by: 1)
        return offset
    }

    /// Writes the pending batch, in a new segment when it does not fit.
    private func write() throws(EventLogError) {
        guard !batch.isEmpty else { return }
        var current = try active(from: batch.baseOffset)
        let isEmpty = current.position <= UInt64(SegmentHeader.blockBytes)
        if !isEmpty && Int(current.position) + batch.byteCount > configuration.segmentBytes {
            try seal(current)
            current = try begin(batch.baseOffset)
        }
        batch.seal(
            appendTime: time.wallMicroseconds(),
            durableOffset: .zero,
            salt: current.salt
        )
        try io { () throws(FileIOError) in
            try current.file.write(batch.frame, at: current.position)
        }
        current.position += UInt64(batch.byteCount)
        batch.removeAll()
        segment = current
    }

    /// The segment being written; a new one when there is none.
    private func active(from base: Offset) throws(EventLogError) -> LaneSegment {
        if let segment { return segment }
        return try begin(base)
    }

    /// Begins a segment.
    private func begin(_ base: Offset) throws(EventLogError) -> LaneSegment {
        var header = template
        header.baseOffset = base
        header.salt = random()
        let path = LogPaths.segment(base, in: directory)
        return try io { () throws(FileIOError) in
            let file = try fileSystem.open(path, .create)
            try file.write(header.encoded(), at: 0)
            return LaneSegment(
                file: file,
                path: path,
                base: base,
                salt: header.salt,
                capacity: configuration.segmentBytes,
                position: UInt64(SegmentHeader.blockBytes)
            )
        }
    }

    /// Syncs and closes a segment.
    private func seal(_ segment: LaneSegment) throws(EventLogError) {
        try io { () throws(FileIOError) in try segment.file.sync() }
        segment.file.close()
    }

    /// Writes and syncs all that is left, with the end frame.
    ///
    /// - Returns: The value of the log's mark.
    func finish() throws(EventLogError) -> MarkValue {
        try write()
        var last = try active(from: .zero)
        let frame = BatchBuilder.endFrame(
            logID: logID,
            endOffset: nextOffset,
            appendTime: time.wallMicroseconds(),
            salt: last.salt
        )
        try io { () throws(FileIOError) in
            try last.file.write(frame, at: last.position)
        }
        last.position += UInt64(frame.count)
        try seal(last)
        return MarkValue(
            durableOffset: nextOffset,
            segmentBase: last.base,
            position: last.position,
            isEnded: true
        )
    }
}
