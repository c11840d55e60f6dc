/// Why stored bytes are no histogram or sketch; positions are byte positions.
package enum MeasureError: Error, Equatable, Sendable {
    /// The bytes are not the canonical encoding of a histogram.
    case malformedHistogram(position: Int)
    /// The bytes are not the canonical encoding of a sketch.
    case malformedSketch(position: Int)
}

extension MeasureError: CustomStringConvertible {
    /// What is wrong, for messages.
    package var description: String {
        switch self {
        case .malformedHistogram(let position): "malformed histogram at byte \(position)"
        case .malformedSketch(let position): "malformed sketch at byte \(position)"
        }
    }
}
