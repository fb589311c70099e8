# Compiler warnings and sanitizers, carried by one interface target.
add_library(chorad_warnings INTERFACE)
target_compile_options(chorad_warnings INTERFACE
  -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes
  -Wold-style-definition -Wpointer-arith -Wwrite-strings -Wundef -Wvla
  -Wformat=2 -Wcast-align -Wdate-time -Wimplicit-fallthrough
  -Wredundant-decls -Wnested-externs -Wno-missing-field-initializers
  -fno-omit-frame-pointer -fstack-protector-strong)
target_compile_definitions(chorad_warnings INTERFACE _GNU_SOURCE)

if(CHORAD_SANITIZE)
  add_compile_options(-fsanitize=${CHORAD_SANITIZE} -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${CHORAD_SANITIZE})
endif()
