internal import CLibrdkafka

extension KafkaConsumer {
    /// Whether the group gives and takes single partitions, or everything at each rebalance.
    package var isCooperative: Bool {
        guard let client = try? open("rd_kafka_rebalance_protocol") else { return false }
        return unsafe client.with { client in
            guard let name = unsafe rd_kafka_rebalance_protocol(client) else { return false }
            return unsafe String(cString: name) == "COOPERATIVE"
        }
    }

    /// Answers `.assigned`: each partition begins at an offset, or at `KafkaOffset.beginning`.
    package func assign(_ offsets: [KafkaPartition: Int64]) throws(KafkaError) {
        let list = PartitionList(offsets)
        isAnswerDue = false
        if isCooperative {
            let client = try open("rd_kafka_incremental_assign")
            let error = unsafe client.with { client in
                unsafe list.with { unsafe rd_kafka_incremental_assign(client, $0) }
            }
            try unsafe client.check(error, "rd_kafka_incremental_assign")
            starts.merge(offsets) { $1 }
        } else {
            let client = try open("rd_kafka_assign")
            let code = unsafe client.with { client in
                unsafe list.with { unsafe rd_kafka_assign(client, $0) }
            }
            try client.check(code, "rd_kafka_assign")
            starts = offsets
        }
    }

    /// Answers `.revoked` and `.lost`; in a group that is not cooperative everything is given up.
    ///
    /// A partition that is paused is not paused any more when it is given again.
    package func unassign(_ partitions: [KafkaPartition]) throws(KafkaError) {
        let forgotten = isCooperative ? paused.intersection(partitions) : paused
        // One that the client does not know any more is not paused either.
        if !forgotten.isEmpty { try? resume(Array(forgotten)) }
        try giveUp(partitions)
    }

    /// Takes nothing more from partitions; in a group that is not cooperative, from none.
    private func giveUp(_ partitions: [KafkaPartition]) throws(KafkaError) {
        isAnswerDue = false
        if isCooperative {
            let list = PartitionList(partitions)
            let client = try open("rd_kafka_incremental_unassign")
            let error = unsafe client.with { client in
                unsafe list.with { unsafe rd_kafka_incremental_unassign(client, $0) }
            }
            try unsafe client.check(error, "rd_kafka_incremental_unassign")
            for partition in partitions { starts[partition] = nil }
        } else {
            let client = try open("rd_kafka_assign")
            try client.check(
                unsafe client.with { unsafe rd_kafka_assign($0, nil) },
                "rd_kafka_assign"
            )
            starts.removeAll()
        }
    }

    /// The partitions that this member has.
    package var assignment: [KafkaPartition] {
        guard let client = try? open("rd_kafka_assignment") else { return [] }
        return unsafe client.with { client in
            var list: UnsafeMutablePointer<rd_kafka_topic_partition_list_t>?
            unsafe _ = rd_kafka_assignment(client, &list)
            guard let list = unsafe list else { return [] }
            return unsafe PartitionList(owning: list).partitions()
        }
    }

    /// Goes on elsewhere in assigned partitions; messages fetched before are dropped.
    ///
    /// They are given up and taken again, of which the group hears nothing: librdkafka then looks
    /// a partition up by its name, where a seek may wait for one whose topic is gone, or was made
    /// again. Refused while `.assigned` waits for its answer.
    package func move(_ offsets: [KafkaPartition: Int64]) throws(KafkaError) {
        guard !isAnswerDue else {
            throw KafkaError(RD_KAFKA_RESP_ERR__STATE, call: "rd_kafka_incremental_assign")
        }
        let held = assignment
        guard isCooperative else {
            return try assign(try positions(held).merging(offsets) { $1 })
        }
        let moved = held.filter { offsets[$0] != nil }
        if !moved.isEmpty { try giveUp(moved) }
        try assign(offsets)
    }

    /// Where partitions go on: behind the last message that was handed over.
    private func positions(
        _ partitions: [KafkaPartition]
    ) throws(KafkaError) -> [KafkaPartition: Int64] {
        let client = try open("rd_kafka_position")
        let list = PartitionList(partitions)
        let code = unsafe client.with { client in
            unsafe list.with { unsafe rd_kafka_position(client, $0) }
        }
        try client.check(code, "rd_kafka_position")
        // Nothing is said of a partition before its first message.
        return list.offsets().merging(starts) { $0 == KafkaOffset.none ? $1 : $0 }
    }

    /// Fetches nothing more from partitions; what was fetched is dropped, and comes again.
    package func pause(_ partitions: [KafkaPartition]) throws(KafkaError) {
        let client = try open("rd_kafka_pause_partitions")
        let list = PartitionList(partitions)
        let code = unsafe client.with { client in
            unsafe list.with { unsafe rd_kafka_pause_partitions(client, $0) }
        }
        try client.check(code, "rd_kafka_pause_partitions")
        paused.formUnion(partitions)
        if let error = list.firstError("rd_kafka_pause_partitions") { throw error }
    }

    /// Fetches from partitions again.
    package func resume(_ partitions: [KafkaPartition]) throws(KafkaError) {
        paused.subtract(partitions)
        let client = try open("rd_kafka_resume_partitions")
        let list = PartitionList(partitions)
        let code = unsafe client.with { client in
            unsafe list.with { unsafe rd_kafka_resume_partitions(client, $0) }
        }
        try client.check(code, "rd_kafka_resume_partitions")
        if let error = list.firstError("rd_kafka_resume_partitions") { throw error }
    }

    /// Commits offsets to the group without waiting; a failure comes as `.error`.
    package func commit(_ offsets: [KafkaPartition: Int64]) throws(KafkaError) {
        let client = try open("rd_kafka_commit_queue")
        let list = PartitionList(offsets)
        let code = unsafe client.withQueue { client, queue in
            unsafe list.with { unsafe rd_kafka_commit_queue(client, $0, queue, nil, nil) }
        }
        try client.check(code, "rd_kafka_commit_queue")
    }

    /// Asks a partition's leader where the partition begins and ends.
    package func watermarks(
        _ partition: KafkaPartition,
        timeout: Duration
    ) throws(KafkaError) -> KafkaWatermarks {
        try open("rd_kafka_query_watermark_offsets").watermarks(partition, timeout: timeout)
    }

    /// Where a partition begins and ends, as the last answers to fetches said; nil when none came.
    ///
    /// The low one is refreshed only with statistics on, and is else what was last asked for.
    package func cachedWatermarks(_ partition: KafkaPartition) -> KafkaWatermarks? {
        guard let client = try? open("rd_kafka_get_watermark_offsets") else { return nil }
        var low = KafkaOffset.none
        var high = KafkaOffset.none
        let code = unsafe client.with { client in
            unsafe rd_kafka_get_watermark_offsets(
                client,
                partition.topic,
                partition.partition,
                &low,
                &high
            )
        }
        guard code == RD_KAFKA_RESP_ERR_NO_ERROR, high >= 0 else { return nil }
        return KafkaWatermarks(low: max(0, low), high: high)
    }

    /// The cluster's id; nil when no broker could be asked in time.
    package func clusterID(timeout: Duration) throws(KafkaError) -> String? {
        try open("rd_kafka_clusterid").clusterID(timeout: timeout)
    }

    /// What made this consumer useless, if anything did: close it and make another.
    package var fatalError: KafkaError? { (try? open("rd_kafka_fatal_error"))?.fatalError }
}
