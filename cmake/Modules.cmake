# chorad_module(name dep...): the static library of src/<name>/*.c.
# A module whose folder is still empty becomes an interface library, so that
# the link list can be written down once.
set(CHORAD_MODULES "")
function(chorad_module name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.c)
  if(sources)
    add_library(${name} STATIC ${sources})
    target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR}/include
      PRIVATE ${CMAKE_SOURCE_DIR}/src/${name})
    target_link_libraries(${name} PUBLIC ${ARGN} PRIVATE chorad_warnings)
    target_compile_definitions(${name} PRIVATE
      CHORAD_VERSION="${PROJECT_VERSION}"
      CHORAD_SOURCE_ROOT="${CMAKE_SOURCE_DIR}/src/")
    # The fuzzers have to see which way their inputs go through it.
    if(CHORAD_FUZZ)
      target_compile_options(${name} PRIVATE -fsanitize=fuzzer-no-link)
    endif()
    # Log lines name the caller as module/file.c:line.
    target_compile_options(${name} PRIVATE
      -fmacro-prefix-map=${CMAKE_SOURCE_DIR}/src/=)
  else()
    add_library(${name} INTERFACE)
    target_include_directories(${name} INTERFACE ${CMAKE_SOURCE_DIR}/include)
    target_link_libraries(${name} INTERFACE ${ARGN})
  endif()
  set(CHORAD_MODULES ${CHORAD_MODULES} ${name} PARENT_SCOPE)
endfunction()
