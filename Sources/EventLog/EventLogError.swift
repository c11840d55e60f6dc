package import FileIO
package import Records

/// What can go wrong in the event log.
package enum EventLogError: Error, Equatable, Sendable {
    /// A file operation failed.
    case io(FileIOError)
    /// A record was larger than the limit; nothing was appended.
    case recordTooLarge(bytes: Int, limit: Int)
    /// There is no disk space and `drop_new` is configured; the record was counted and dropped.
    case dropped
    /// There is no disk space for another segment.
    case full
    /// Appends are paused: too many bytes wait for a disk that does not sync or write.
    case stalled(unacknowledgedBytes: Int)
    /// The lane is closed.
    case closed
    /// No log of that id is in the directory.
    case unknownLog(LogID)
    /// Neither copy of a segment's header is valid, or it belongs to another log.
    case corruptSegmentHeader(path: String)
    /// A file of this format has a version that this program does not know.
    case unsupportedVersion(path: String, version: UInt16)
    /// Another process has the log locked.
    case locked(LogID)
    /// A checkpoint's consumer name is not usable as a directory name.
    case invalidConsumerName(String)
    /// Offsets are missing between the part of a carried log that is there and the part that comes;
    /// `isDeleted` if the source has deleted them.
    case gap(LogID, Range<Offset>, isDeleted: Bool)
    /// Two segments of the same log and offset have different bytes.
    case differs(path: String, from: String)
    /// Whoever wrote a log gave up, for a reason of their own.
    case abandoned(reason: String)
    /// A configuration value is outside its limits.
    case invalidConfiguration(String)
}

extension EventLogError: CustomStringConvertible {
    /// A lower-case sentence without a full stop, as PostgreSQL words its messages.
    package var description: String {
        switch self {
        case .io(let error):
            error.description
        case .recordTooLarge(let bytes, let limit):
            "record of \(bytes) bytes exceeds the limit of \(limit) bytes"
        case .dropped:
            "record dropped because the disk is full"
        case .full:
            "no disk space for another segment"
        case .stalled(let bytes):
            "appends are paused: \(bytes) bytes wait for the disk"
        case .closed:
            "the lane is closed"
        case .unknownLog(let log):
            "there is no log \"\(log)\""
        case .corruptSegmentHeader(let path):
            "both headers of segment \"\(path)\" are damaged"
        case .unsupportedVersion(let path, let version):
            "\"\(path)\" has format version \(version), which this program does not know"
        case .locked(let log):
            "log \"\(log)\" is locked by another process"
        case .gap(let log, let offsets, let isDeleted):
            "log \"\(log)\": offsets \(offsets.lowerBound) to \(offsets.upperBound) (exclusive) "
                + "are missing; hint: "
                + (isDeleted
                    ? "retention has deleted them at the source; --accept-gaps records them as "
                        + "expired"
                    : "bring the part that holds them first, or record them as expired with "
                        + "--accept-gaps")
        case .differs(let path, let source):
            "\"\(path)\" and \"\(source)\" are the same segment with different bytes; hint: one "
                + "of them is damaged, `sluice log verify` says which; remove that one"
        case .invalidConsumerName(let name):
            "\"\(name)\" cannot be a consumer's name"
        case .abandoned(let reason), .invalidConfiguration(let reason):
            reason
        }
    }

    /// Whether more disk space would help.
    package var isOutOfSpace: Bool {
        switch self {
        case .full, .dropped: true
        case .io(let error): error.isOutOfSpace
        default: false
        }
    }
}

/// Runs file operations and translates their errors; the boundary between the two modules.
func io<T>(_ body: () throws(FileIOError) -> T) throws(EventLogError) -> T {
    do throws(FileIOError) {
        return try body()
    } catch {
        throw .io(error)
    }
}
