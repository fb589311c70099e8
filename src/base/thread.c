#include "chorad/base/thread.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#define NICE 5

void thread_stand_back(void)
{
    struct sched_param param = {0};

    /* Where either isn't allowed the thread runs as it did. */
    (void)pthread_setschedparam(pthread_self(), SCHED_BATCH, &param);
    (void)setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
}
