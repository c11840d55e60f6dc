/// Why bytes are no record that this version can read; positions are byte positions in the record.
package enum RecordError: Error, Equatable, Sendable {
    /// The bytes end inside a field.
    case truncated(position: Int)
    /// A varint is longer than 64 bits.
    case varintOverflow(position: Int)
    /// A field number or wire type is none of protobuf's, or an end-group tag has no start.
    case invalidTag(position: Int)
    /// Groups are nested deeper than `WireReader.groupDepthMax`.
    case nestedTooDeep(position: Int)
    /// The record is longer than protobuf allows (2 GiB − 1).
    case tooLong(bytes: Int)
    /// The record follows a newer schema; it is parked for a newer reader.
    case unknownSchemaVersion(UInt32)
}

extension RecordError: CustomStringConvertible {
    /// What is wrong, for dead letters and messages.
    package var description: String {
        switch self {
        case .truncated(let position): "record ends inside the field at byte \(position)"
        case .varintOverflow(let position): "varint at byte \(position) exceeds 64 bits"
        case .invalidTag(let position): "invalid field tag at byte \(position)"
        case .nestedTooDeep(let position): "groups nested too deep at byte \(position)"
        case .tooLong(let bytes): "record of \(bytes) bytes is too long"
        case .unknownSchemaVersion(let version): "unknown schema version \(version)"
        }
    }
}
