/* The least that Orthanc calls a plugin (OrthancCPlugin.h, introduction): four functions and a promise to do nothing.
 *
 * Built by the tests with -DNAME and -DVERSION, and with at most one of:
 *   REFUSES  what it says when it is asked to start, as a plugin for a newer Orthanc does
 *   CRASHES  it does not survive that
 *   NEEDS    a function that nobody has
 *   ENTRY_MISSING  one of the four is not there
 *   RUNS     a command that it runs when it is asked to start, as a newer plugin changes the index's schema
 */
#include <stdint.h>

int system(const char *command); /* of Orthanc's own C library: the tests need no headers of one */

/* The beginning of OrthancPluginContext, which has not changed since 0.8.5. */
struct context {
  void *manager;
  const char *version;
  void (*release)(void *);
  int32_t (*invoke)(struct context *, int32_t service, const void *parameters);
};

enum { LOG_ERROR = 3 }; /* _OrthancPluginService_LogError */

#ifdef NEEDS
extern int NEEDS(void);
#endif

int32_t OrthancPluginInitialize(struct context *context)
{
#ifdef REFUSES
  context->invoke(context, LOG_ERROR, REFUSES);
  return -1;
#endif
#ifdef CRASHES
  *(volatile int *) 0 = 0;
#endif
#ifdef RUNS
  return system(RUNS);
#endif
#ifdef NEEDS
  return NEEDS();
#endif
  return context == 0;
}

#ifndef ENTRY_MISSING
void OrthancPluginFinalize(void) {}
#endif

const char *OrthancPluginGetName(void) { return NAME; }

const char *OrthancPluginGetVersion(void) { return VERSION; }
