"""Python's processes, measured: prints one line of figures. The operation is the first argument."""
import concurrent.futures
import multiprocessing
import operator
import os
import sys
import threading
import time

FORK = multiprocessing.get_context("fork")


def best(batch, rounds=3):
    return min(batch() for _ in range(rounds))


def start(method, count):
    context = multiprocessing.get_context(method)

    def batch():
        begin = time.perf_counter()
        for _ in range(count):
            process = context.Process(target=operator.neg, args=(1,))
            process.start()
            process.join()
        return (time.perf_counter() - begin) / count

    batch()
    return best(batch) * 1e6


def pool_trip(pool, call, count):
    def batch():
        begin = time.perf_counter()
        for n in range(count):
            assert call(n) == -n
        return (time.perf_counter() - begin) / count

    batch()
    return best(batch) * 1e6


def pool_batch(submit, get, count):
    def batch():
        begin = time.perf_counter()
        results = [submit(n) for n in range(count)]
        for n, result in enumerate(results):
            assert get(result) == -n
        return (time.perf_counter() - begin) / count

    return batch() * 1e6


def put_all(queue, message, count):
    for _ in range(count):
        queue.put(message)


def stream(size, count):
    def batch():
        queue = FORK.Queue(128)
        child = FORK.Process(target=put_all, args=(queue, b"x" * size, count))
        child.start()
        queue.get()
        begin = time.perf_counter()
        for _ in range(count - 1):
            queue.get()
        took = time.perf_counter() - begin
        child.join()
        return took / (count - 1)

    return best(batch)


def answer_all(there, back):
    while (n := there.get()) is not None:
        back.put(n)


def queue_trip(count):
    there, back = FORK.Queue(1), FORK.Queue(1)
    child = FORK.Process(target=answer_all, args=(there, back))
    child.start()

    def batch():
        begin = time.perf_counter()
        for n in range(count):
            there.put(n)
            assert back.get() == n
        return (time.perf_counter() - begin) / count

    batch()
    took = best(batch)
    there.put(None)
    child.join()
    return took * 1e6


def usage(pids):
    """Processor time in seconds and voluntary switches of all threads of some processes."""
    nanos, switches = 0, 0
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            if int(task) == threading.get_native_id():
                continue
            folder = f"/proc/{pid}/task/{task}"
            nanos += int(open(f"{folder}/schedstat").read().split()[0])
            status = open(f"{folder}/status").read().splitlines()
            switches += sum(int(line.split()[1]) for line in status if line.startswith("voluntary"))
    return nanos / 1e9, switches


def idle(pids, settle, watched):
    time.sleep(settle)
    before = usage(pids)
    time.sleep(watched)
    after = usage(pids)
    return (after[0] - before[0]) * 100 / watched, after[1] - before[1]


def main(operation, *numbers):
    numbers = [int(number) for number in numbers]
    if operation.startswith("start-"):
        return [start(operation.removeprefix("start-"), *numbers)]
    if operation == "stream":
        return [stream(*numbers) * 1e6]
    if operation == "queue-trip":
        return [queue_trip(*numbers)]
    if operation.endswith("futures"):
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=FORK) as pool:
            list(pool.map(operator.neg, range(100)))
            if operation == "trip-futures":
                return [pool_trip(pool, lambda n: pool.submit(operator.neg, n).result(), *numbers)]
            if operation == "batch-futures":
                return [pool_batch(lambda n: pool.submit(operator.neg, n), lambda r: r.result(), *numbers)]
            pids = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
            return idle(pids, *numbers)
    with FORK.Pool(2) as pool:
        pool.map(operator.neg, range(100))
        if operation == "trip-pool":
            return [pool_trip(pool, lambda n: pool.apply(operator.neg, (n,)), *numbers)]
        if operation == "batch-pool":
            return [pool_batch(lambda n: pool.apply_async(operator.neg, (n,)), lambda r: r.get(), *numbers)]
        pids = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
        return idle(pids, *numbers)


print(*main(*sys.argv[1:]))
