import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/** Java's ProcessHandle.descendants: on a stop each is asked, and killed after the grace. */
class Descendants {
    private static final CompletableFuture<Process> started = new CompletableFuture<>();
    private static volatile boolean stopping;

    public static void main(String[] command) throws Exception {
        // Before the command is there: it takes a while to make a hook, and start to return.
        Runtime.getRuntime().addShutdownHook(new Thread(Descendants::stop));
        Process child = new ProcessBuilder(command).inheritIO().start();
        started.complete(child);
        int status = child.waitFor();
        if (stopping) {
            Thread.currentThread().join(); // the hook ends the program
        }
        // halt runs no hooks: there is nothing to stop when the command has ended.
        Runtime.getRuntime().halt(status);
    }

    private static void stop() {
        stopping = true;
        Process child = started.join();
        List<ProcessHandle> all = child.descendants().toList();
        all.forEach(ProcessHandle::destroy);
        child.destroy();
        try {
            TimeUnit.MILLISECONDS.sleep(300);
        } catch (InterruptedException e) {
            // It is time to kill.
        }
        child.descendants().forEach(ProcessHandle::destroyForcibly);
        all.forEach(ProcessHandle::destroyForcibly);
        child.destroyForcibly();
    }
}
