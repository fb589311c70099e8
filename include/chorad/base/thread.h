/* Threads whose work nobody waits for at once. */
#ifndef CHORAD_BASE_THREAD_H
#define CHORAD_BASE_THREAD_H

/* Puts the calling thread, and those it starts from now on, behind the others
 * on the processor. There is no way back for most users. Not for a thread that
 * somebody else may have to wait for. */
void thread_stand_back(void);

#endif
