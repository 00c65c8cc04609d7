/* pause holds namespaces open and does nothing else: the first process of every Pod sandbox and of
 * the node itself. As the first process of a process namespace it inherits its orphans, so it reaps
 * them (SIGCHLD ignored: the kernel does it). It starts nothing and reads nothing.
 *
 * In C so that it costs 40 kB of memory per Pod, and so that the cluster needs none of our own
 * programs to come up. */
#include <signal.h>
#include <unistd.h>

static void end(int number) {
    (void)number;
    _exit(0);
}

int main(void) {
    signal(SIGCHLD, SIG_IGN);
    signal(SIGINT, end);
    signal(SIGTERM, end);
    for (;;) pause();
}
