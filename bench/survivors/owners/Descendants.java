import java.util.List;
import java.util.concurrent.TimeUnit;

/** Java's ProcessHandle.descendants: on a stop each is asked, and killed after the grace. */
class Descendants {
    private static volatile boolean stopping;

    public static void main(String[] command) throws Exception {
        Process child = new ProcessBuilder(command).inheritIO().start();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            stopping = true;
            List<ProcessHandle> all = child.descendants().toList();
            all.forEach(ProcessHandle::destroy);
            child.destroy();
            try {
                child.waitFor(300, TimeUnit.MILLISECONDS);
                Thread.sleep(300);
            } catch (InterruptedException e) {
                // It is time to kill.
            }
            child.descendants().forEach(ProcessHandle::destroyForcibly);
            all.forEach(ProcessHandle::destroyForcibly);
            child.destroyForcibly();
        }));
        int status = child.waitFor();
        if (stopping) {
            Thread.currentThread().join(); // the hook ends the program
        }
        // halt runs no hooks: there is nothing to stop when the command has ended.
        Runtime.getRuntime().halt(status);
    }
}
