/// Durations of the command line.
enum DurationText {
    /// A duration in the largest unit that it is a whole number of, as in `7d`.
    static func text(_ duration: Duration) -> String {
        let seconds = duration.components.seconds
        for (unit, length) in [("d", 86_400), ("h", 3_600), ("m", 60)] as [(String, Int64)]
        where seconds >= length && seconds % length == 0 {
            return "\(seconds / length)\(unit)"
        }
        return "\(seconds)s"
    }

    /// Seconds of a text such as `500ms`, `10s`, `5m` or `1h`; nil if it is none or not positive.
    static func seconds(_ text: String) -> Double? {
        for (unit, length) in [("ms", 0.001), ("s", 1), ("m", 60), ("h", 3_600)]
        where text.hasSuffix(unit) {
            guard let number = Double(text.dropLast(unit.count)), number > 0, number < 1e9 else {
                continue
            }
            return number * length
        }
        return nil
    }
}
