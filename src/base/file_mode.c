/* Who may read what the server keeps: warnings about directories and keys that
 * are open to others. */
#include "chorad/base/file.h"
#include "chorad/base/log.h"
#include "chorad/base/quote.h"

#include <stdlib.h>
#include <sys/stat.h>

#define OTHERS (S_IRWXG | S_IRWXO)

void file_mode_text(char out[FILE_MODE_TEXT], mode_t mode)
{
    static const char letters[] = "rwxrwxrwx";
    char *at = out;

    if (S_ISDIR(mode))
        *at++ = 'd';
    if (mode & S_ISUID)
        *at++ = 'u';
    if (mode & S_ISGID)
        *at++ = 'g';
    if (mode & S_ISVTX)
        *at++ = 't';
    if (at == out)
        *at++ = '-';
    for (int i = 0; i < 9; i++)
        *at++ = mode & (mode_t)(0400 >> i) ? letters[i] : '-';
    *at = '\0';
}

static void warn(const char *kind, const char *path, mode_t is, mode_t better,
                 const char *what)
{
    char *quoted = quote_text(path);
    char has[FILE_MODE_TEXT];
    char wants[FILE_MODE_TEXT];
    char *text;

    file_mode_text(has, is);
    file_mode_text(wants, better);
    text = mem_printf("%s %s exist, but the permission is \"%s\". The "
                      "recommended permission is \"%s\" to prevent possible "
                      "unprivileged access to the %s",
                      kind, quoted, has, wants, what);
    log_warn("check file permission", LOG_STR("error", text));
    free(text);
    free(quoted);
}

void file_check_dir_mode(const char *path)
{
    struct stat st;

    if (stat(path, &st) == 0 &&
        (st.st_mode & (S_IRWXU | OTHERS)) != (mode_t)S_IRWXU)
        warn("directory", path, st.st_mode, S_IRWXU, "data");
}

void file_check_key_mode(const char *path)
{
    struct stat st;

    if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & OTHERS))
        warn("file", path, st.st_mode, S_IRUSR | S_IWUSR, "key");
}
